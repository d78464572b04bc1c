"""What must not leave a device does not, and the person who asked is told why, soon."""

import json
import os
import time

import pytest

from harness.process import is_running
from harness.waiting import SLOWNESS

WITHIN_S = 10 * SLOWNESS  # soon, for one who waits in vain waits for ever


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start(agent={"files": {"max_size": "100K"}})
    shared_house.start_agent("open_nowhere", {"files": {"allow": None}})
    agent = shared_house.agents["restaurant_1"]
    secret = agent.home / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"secret")
    beside = agent.home / "files-of-another"  # its name begins like the allowed folder's
    beside.mkdir()
    (beside / "key").write_bytes(b"secret")
    (agent.files / "folder").mkdir()
    (agent.files / "link-to-secret").symlink_to(secret / "key")
    (agent.files / "link-to-folder").symlink_to(secret)
    (agent.files / "link-inside").symlink_to(agent.files / "fits")
    (agent.files / "link-to-environ").symlink_to("/proc/self/environ")
    (agent.files / "link-to-itself").symlink_to(agent.files / "link-to-itself")
    os.mkfifo(agent.files / "fifo")
    agent.file("large", b"x" * 102401)
    agent.file("fits", b"x" * 102400)
    return shared_house


def refused(house, client, path, *options):
    """Asks with `beckon get` and returns the error of the row, after checking what holds for every refusal."""
    before = house.stored_files()
    out = house.folder / "refused-out"
    begun = time.monotonic()
    result = house.cli("get", client, path, "-o", out, "--json", *options)
    took = time.monotonic() - begun
    assert result.returncode == 3, (result.returncode, result.stdout, result.stderr)
    assert took < WITHIN_S, f"it took {took:.1f} s"
    assert result.stderr or "error" in result.stdout
    assert not out.exists()
    assert house.stored_files() == before
    row = next(row for row in house.downloads() if row["fileName"] == str(path))
    assert row["status"] == "rejected", row
    assert row["error"]["message"]
    assert row["error"]["reason"] in result.stdout + result.stderr
    return row["error"]["code"], row["error"]["reason"]


@pytest.mark.parametrize("path", [
    "/etc/passwd", "{home}/secret/key", "{home}/files-of-another/key", "{files}/../secret/key", "{files}/folder/../../secret/key",
    "../secret/key", "..", "{files}/..", "{files}/link-to-secret", "{files}/link-to-folder/key", "/proc/self/environ",
    "{files}/link-to-environ", "/", "/does/not/exist", "{home}/secret/does-not-exist"])
def test_path_that_is_or_leads_outside_the_allowed_folder(house, path):
    agent = house.agents["restaurant_1"]
    path = path.format(home=agent.home, files=agent.files)
    assert refused(house, "restaurant_1", path) == ("permission_denied", "PATH_NOT_ALLOWED")


@pytest.mark.parametrize("name", ["folder", "fifo"])
def test_what_is_not_a_regular_file(house, name):
    agent = house.agents["restaurant_1"]
    assert refused(house, "restaurant_1", agent.files / name)[1] == "NOT_A_REGULAR_FILE"
    assert not agent.workers() and is_running(agent.pid)


def test_missing_file(house):
    assert refused(house, "restaurant_1", house.agents["restaurant_1"].files / "missing")[0] == "not_found"


@pytest.mark.parametrize("name", ["link-inside", "link-to-itself"])
def test_any_symbolic_link_is_refused_wherever_it_leads(house, name):
    assert refused(house, "restaurant_1", house.agents["restaurant_1"].files / name)[1] == "PATH_NOT_ALLOWED"


def test_file_over_the_agents_max_size(house, folder):
    files = house.agents["restaurant_1"].files
    assert refused(house, "restaurant_1", files / "large")[1] == "FILE_TOO_LARGE"
    assert house.cli("get", "restaurant_1", files / "fits", "-o", folder / "out").returncode == 0


def test_file_over_the_requests_max_size(house):
    files = house.agents["restaurant_1"].files
    agent_file = house.agents["restaurant_1"].file("asked-small", b"x" * 2000)
    assert agent_file.parent == files
    assert refused(house, "restaurant_1", agent_file, "--max-size", "1K")[1] == "FILE_TOO_LARGE"


def test_agent_that_allows_nothing_gives_nothing(house):
    path = house.agents["open_nowhere"].file("x", b"x")
    assert refused(house, "open_nowhere", path) == ("permission_denied", "PATH_NOT_ALLOWED")


def test_unknown_client_is_404_with_the_known_ones(house, folder):
    begun = time.monotonic()
    result = house.cli("get", "nobody_here", "/x", "-o", folder / "out")
    assert result.returncode == 3, result
    assert time.monotonic() - begun < WITHIN_S
    assert "restaurant_1" in result.stdout + result.stderr
    answer = house.api().request("POST", "/download", {"clientId": "nobody_here", "fileName": "/x"})
    assert answer.status == 404 and answer.json()["code"] == "not_found", answer
    assert "restaurant_1" in json.dumps(answer.json())
    assert not list(folder.iterdir())


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", {}, {"clientId": "restaurant_1"}, {"fileName": "/x"}, {"clientId": "restaurant_1", "fileName": ""},
    {"clientId": 5, "fileName": "/x"}, {"clientId": "../x", "fileName": "/x"}, {"clientId": "coordinator", "fileName": "/x"},
    {"clientId": "restaurant_1", "fileName": "a\u0000b"}, {"clientId": "restaurant_1", "fileName": "x" * 5000}])
def test_request_that_is_not_one_is_told_so(house, body):
    answer = house.api().request("POST", "/download", body, {"Content-Type": "application/json"})
    assert answer.status in (400, 404), answer
    assert answer["Content-Type"].split(";")[0] == "application/problem+json"
    assert answer.json()["message"]


def test_without_the_shared_secret_the_coordinator_says_nothing(house):
    nobody = house.api()
    nobody.bearer = None
    for method, path in (("GET", "/clients"), ("GET", "/downloads"), ("POST", "/download"), ("GET", "/download/x"),
                         ("DELETE", "/download/x"), ("GET", "/download/x/content")):
        answer = nobody.request(method, path, {"clientId": "restaurant_1", "fileName": "/x"} if method == "POST" else None)
        assert answer.status == 401, (method, path, answer)
    assert nobody.request("GET", "/health").status == 200
