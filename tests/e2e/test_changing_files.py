"""Files that change while they are sent, and agents with a rate of their own."""

import os
import time

import pytest

SIZE = 600_000
RATE = "200K"


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(agent={"agent": {"concurrency": 4}, "receiver": {"rate": RATE}})


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


@pytest.fixture
def begun(house, agent, request):
    """A file that is being sent just now: (path, content, request id)."""
    data = os.urandom(SIZE)
    path = agent.file(request.node.name, data)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    request_id = house.ask("restaurant_1", path)
    house.wait_bytes(request_id)
    return path, data, request_id


def assert_file_changed(house, request_id):
    row = house.wait_status(request_id, "failed", "completed")
    assert row["status"] == "failed", row
    assert row["error"]["reason"] == "FILE_CHANGED", row
    assert house.stored("restaurant_1", request_id) is None


def test_truncated_file_fails_as_changed(house, begun):
    path, _, request_id = begun
    os.truncate(path, SIZE // 3)
    assert_file_changed(house, request_id)


def test_same_size_with_a_new_mtime_fails_as_changed(house, begun):
    path, _, request_id = begun
    with open(path, "r+b") as file:
        file.seek(SIZE - 10)
        file.write(b"0123456789")
    assert_file_changed(house, request_id)


def test_append_is_fine_and_the_size_at_open_is_sent(house, begun):
    path, data, request_id = begun
    with open(path, "ab") as file:
        file.write(b"a log goes on\n" * 1000)
    row = house.wait_status(request_id, "completed", "failed")
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data


def test_overwriting_by_something_longer_fails_as_changed(house, begun):
    """A prefix of the old and the rest of the new would be no file at all, though it only got longer."""
    path, _, request_id = begun
    path.write_bytes(b"B" * (SIZE + 100_000))
    assert_file_changed(house, request_id)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_file_that_is_deleted_or_replaced_is_sent_as_it_was(house, begun, how):
    path, data, request_id = begun
    if how == "deleted":
        path.unlink()
    else:
        path.with_suffix(".new").write_bytes(b"rotated")
        path.with_suffix(".new").rename(path)
    row = house.wait_status(request_id, "completed", "failed")
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data


def test_agents_own_rate_bounds_what_a_request_asks(house, agent, folder):
    path = agent.file("rated", os.urandom(SIZE))
    begun_at = time.monotonic()
    result = house.cli("get", "restaurant_1", path, "-o", folder / "out", "--rate", "100M")
    took_s = time.monotonic() - begun_at
    assert result.returncode == 0, result.stderr
    assert took_s > SIZE / 204800 * 0.6, f"{took_s:.1f} s for {SIZE} bytes at {RATE}/s"
