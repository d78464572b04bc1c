"""The line between agent and receiver breaks in unkind ways; each request ends in one whole file all the same."""

import os

import pytest

from harness.proxy import Proxy
from harness.waiting import SLOWNESS, wait_until

SIZE, RATE = 400_000, "200K"
GIVES_UP_S = 3 * SLOWNESS  # of what is silent; a disk that is busy may be so for a while


@pytest.fixture(scope="module")
def house(shared_house):
    house = shared_house
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    house.line = house.closing(Proxy(house.receiver_port))
    house.start_agent("restaurant_1", {"receiver": {
        "url": f"https://127.0.0.1:{house.line.port}", "rate": RATE, "stall_time": f"{GIVES_UP_S}s", "commit_timeout": f"{GIVES_UP_S}s"}})
    return house


@pytest.fixture
def begun(house, request):
    """A request whose bytes flow: (content, id)."""
    data = os.urandom(SIZE)
    request_id = house.ask("restaurant_1", house.agents["restaurant_1"].file(request.function.__name__, data))
    house.wait_bytes(request_id)
    return data, request_id


def assert_completes(house, begun, attempts):
    data, request_id = begun
    row = house.wait_status(request_id, "completed", "failed")
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data
    agent = house.agents["restaurant_1"]
    agent.wait_log(rf"{request_id}: done")
    assert len(agent.log_lines(rf"{request_id}.*sending")) == attempts


def test_connection_that_is_reset(house, begun):
    house.line.cut()
    assert_completes(house, begun, attempts=2)


def test_connection_that_goes_dark_is_given_up_after_stall_time(house, begun):
    house.line.black_out()
    house.agents["restaurant_1"].wait_log(rf"{begun[1]}: attempt 1 failed")
    house.line.light_up()
    row = house.wait_status(begun[1], "completed", "failed")
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", begun[1]).read_bytes() == begun[0]


def test_answer_that_is_lost_is_asked_for_again_and_the_file_is_stored_once(house, begun):
    house.line.mute()
    wait_until(lambda: house.stored("restaurant_1", begun[1]), "the receiver to have stored it")
    stored = house.stored("restaurant_1", begun[1]).stat()
    assert_completes(house, begun, attempts=2)
    again = house.stored("restaurant_1", begun[1]).stat()
    assert (stored.st_ino, stored.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_line_that_breaks_all_the_time_costs_no_part_of_a_long_queue(house):
    """While one waits for its next attempt another has its place: in the end all have begun, and none may lose what it has."""
    agent = house.start_agent("restaurant_2", {"agent": {"concurrency": 8}, "receiver": {
        "url": f"https://127.0.0.1:{house.line.port}", "rate": "20K", "backoff_min": "1m", "backoff_max": "1m"}})
    ids = [house.ask("restaurant_2", agent.file(f"queued-{i}", os.urandom(SIZE))) for i in range(24)]
    begun = set()
    while len(begun) < len(ids) - 1 and not house.receiver.log_lines("needs the room"):
        upload = wait_until(lambda: next((i for i in ids if i not in begun and any(path.stat().st_size for path in house.parts(i))), None),
                            "another one to begin")
        begun.add(upload)
        if len(begun) % 8 == 0:
            house.line.cut()
    assert house.receiver.log_lines("needs the room") == []
    agent.stop()
