"""beckon get: the file arrives whole, whatever its size and name. (test_cli.py has the command line by itself.)"""

import hashlib
import json
import os

import pytest



@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


def assert_fetched(result, path, data):
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert path.read_bytes() == data


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 3000000])
def test_get_writes_the_very_same_bytes(house, agent, folder, size):
    data = os.urandom(size)
    path = agent.file("file.bin", data)
    assert_fetched(house.cli("get", "restaurant_1", path, "-o", folder / "out"), folder / "out", data)


@pytest.mark.parametrize("name", [
    "with space", "  spaces around  ", "grün-☃-日本.txt", "-rf", "--help", "new\nline", "tab\tand\rcr", "quote\"'`$(x)",
    "100%", "back\\slash", "*?[x]", ".hidden", "a" * 255, "percent%20encoded", "semi;colon&amp", "\x7fdel", "e\u0301-nfd"])
def test_get_of_a_file_with_any_name(house, agent, folder, name):
    data = name.encode() * 3
    path = agent.file(name, data)
    assert_fetched(house.cli("get", "restaurant_1", path, "-o", folder / "out"), folder / "out", data)


def test_relative_name_with_leading_dash_follows_two_dashes(house, agent, folder):
    agent.file("-o", b"dash")
    assert_fetched(house.cli("get", "-o", folder / "out", "--", "restaurant_1", "-o"), folder / "out", b"dash")


def test_get_to_standard_output_is_the_content_and_nothing_else(house, agent):
    data = bytes(range(256)) * 100
    path = agent.file("stdout.bin", data)
    result = house.cli("get", "restaurant_1", path, "-o", "-", binary=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == data


def test_get_without_an_output_file_says_what_is_stored(house, agent):
    data = b"just pull it"
    result = house.cli("get", "restaurant_1", agent.file("pull", data), "--json")
    assert result.returncode == 0, result.stderr
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["status"] == "completed" and last["sha256"] == hashlib.sha256(data).hexdigest()


def test_no_wait_prints_the_id_and_status_follows_it(house, agent):
    result = house.cli("get", "restaurant_1", agent.file("later", b"later"), "--no-wait", "--json")
    assert result.returncode == 0, result.stderr
    request_id = json.loads(result.stdout)["requestId"]
    house.wait_status(request_id, "completed")
    shown = house.cli("status", request_id, "--json")
    assert json.loads(shown.stdout)["status"] == "completed"


def test_get_replaces_an_old_output_only_when_the_new_one_is_whole(house, agent, folder):
    out = folder / "out"
    out.write_bytes(b"old")
    failed = house.cli("get", "restaurant_1", agent.files / "missing", "-o", out)
    assert failed.returncode in (1, 3) and out.read_bytes() == b"old"
    assert_fetched(house.cli("get", "restaurant_1", agent.file("new", b"new"), "-o", out), out, b"new")
    assert sorted(os.listdir(folder)) == ["out"], "a temporary was left beside it"


def test_clients_shows_who_is_there(house):
    result = house.cli("clients", "--json")
    assert result.returncode == 0, result.stderr
    clients = json.loads(result.stdout)["clients"]
    assert [(client["id"], client["online"]) for client in clients] == [("restaurant_1", True)]
    assert "restaurant_1" in house.cli("clients").stdout


def test_idempotency_key_makes_one_request(house, agent):
    path = agent.file("once", b"once")
    first = house.ask("restaurant_1", path, **{"Idempotency-Key": "key-1"})
    again = house.ask("restaurant_1", path, **{"Idempotency-Key": "key-1"})
    assert first == again
    assert house.ask("restaurant_1", path, **{"Idempotency-Key": "key-2"}) != first


def test_wrong_token_is_told_and_fails(house, folder):
    (folder / "token").write_text("wrong\n")
    result = house.cli("clients", "--token-file", folder / "token")
    assert result.returncode in (1, 3) and result.stderr
    assert house.api().request("GET", "/clients", headers={"Authorization": "Bearer wrong"}).status == 401
    assert house.api().request("GET", "/clients", headers={"Authorization": "Basic x"}).status == 401


def test_unknown_request_fails(house):
    for verb in ("status", "cancel"):
        result = house.cli(verb, "01890000-0000-7000-8000-000000000000")
        assert result.returncode == 1 and result.stderr, (verb, result)


def test_download_ticket_opens_that_file_for_reading_and_nothing_else(house, agent):
    request_id = house.ask("restaurant_1", agent.file("ticketed", b"ticketed"))
    other_id = house.ask("restaurant_1", agent.file("other", b"other"))
    for one in (request_id, other_id):
        house.wait_status(one, "completed")
    answer = house.api().request("GET", f"/download/{request_id}/content")
    assert answer.status == 302, answer
    location = answer["Location"]
    assert location.startswith(house.receiver_url)
    target = location[len(house.receiver_url):]
    nobody = house.https()
    fetched = nobody.request("GET", target)
    assert (fetched.status, fetched.body) == (200, b"ticketed")
    assert nobody.request("GET", target.replace(request_id, other_id)).status in (401, 403, 404)
    assert nobody.request("PUT", target, b"x").status in (401, 403)
    assert nobody.request("DELETE", target).status in (401, 403)
    assert nobody.request("GET", target[:-4] + "AAAA").status in (401, 403)
