"""Uploads that go on where they stopped: over broken connections, a killed agent, a killed receiver, and files that changed
meanwhile. What crosses the line to the receiver is counted: nothing is sent twice but what was in flight."""

import os

import pytest

from harness.proxy import Proxy
from harness.waiting import SANITIZED, wait_until

MB = 1024 * 1024
SIZE = (4 if SANITIZED else 12) * MB
RATE = "1M" if SANITIZED else "2M"
IN_FLIGHT = (2 if SANITIZED else 3) * MB  # in sockets on both sides of the proxy at each break: a receiver may be held up for a while
OVERHEAD = 1.02     # TLS records, chunks, headers and handshakes


@pytest.fixture
def line(house):
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    return house.closing(Proxy(house.receiver_port))


@pytest.fixture
def agent(house, line):
    return house.start_agent("restaurant_1", {"receiver": {"url": f"https://127.0.0.1:{line.port}", "rate": RATE}})


@pytest.fixture
def source(agent):
    path = agent.file("source", os.urandom(SIZE))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def wait_carried(line, size):
    wait_until(lambda: line.carried >= size, lambda: f"{size} bytes to pass; {line.carried} have")


def assert_whole(house, source, request_id):
    row = house.wait_status(request_id, "completed", "failed", timeout_s=60)
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == source.read_bytes()


def test_broken_connections_cost_only_what_was_in_flight(house, agent, line, source):
    request_id = house.ask("restaurant_1", source)
    for quarter in (1, 2, 3):
        wait_carried(line, SIZE * quarter // 4)
        line.cut()
    assert_whole(house, source, request_id)
    assert line.carried < SIZE * OVERHEAD + 3 * IN_FLIGHT, line.carried


@pytest.mark.parametrize("who", ["agent", "receiver"])
def test_killed_daemon_goes_on_where_it_was(house, agent, line, source, who):
    daemon = agent if who == "agent" else house.receiver
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE * 2 // 3)
    daemon.kill()
    daemon.start()
    assert_whole(house, source, request_id)
    assert line.carried < SIZE * OVERHEAD + IN_FLIGHT, line.carried


def test_append_while_the_agent_is_away_is_not_sent(house, agent, line, source):
    content = source.read_bytes()
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE // 2)
    agent.kill()
    with open(source, "ab") as file:
        file.write(b"a log goes on\n" * 1000)
    agent.start()
    row = house.wait_status(request_id, "completed", "failed", timeout_s=60)
    assert row["status"] == "completed" and row["size"] == SIZE, row
    assert house.stored("restaurant_1", request_id).read_bytes() == content
    assert line.carried < SIZE * OVERHEAD + IN_FLIGHT, "the append must not make it start over"


@pytest.mark.parametrize("how", ["replaced", "cut", "rewritten"])
def test_file_that_changed_while_the_agent_was_away_is_never_a_mixture(house, agent, line, source, how):
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE // 2)
    agent.kill()
    if how == "replaced":
        other = source.with_name("other")
        other.write_bytes(os.urandom(SIZE))
        other.rename(source)
    elif how == "cut":
        os.truncate(source, SIZE // 4)
    else:
        with open(source, "r+b") as file:
            file.write(os.urandom(1000))
    agent.start()
    assert_whole(house, source, request_id)  # begun anew, once: the file as it is now


def test_rewrite_that_hides_itself_is_found_by_the_digest(house, agent, line, source):
    """Same inode, size and times: only the digest of the whole can tell, and then all is sent anew."""
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE // 2)
    agent.kill()
    with open(source, "r+b") as file:
        file.write(os.urandom(1000))
    os.utime(source, (1_700_000_000, 1_700_000_000))
    agent.start()
    assert_whole(house, source, request_id)


def test_finished_upload_whose_answer_was_lost_is_not_sent_again(house, agent, line, source):
    """The agent dies after the receiver has everything and before it has heard so."""
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE // 2)
    agent.process.send_signal(19)  # SIGSTOP: the worker goes on alone
    house.wait_status(request_id, "completed", timeout_s=60)
    agent.kill()
    carried = line.carried
    agent.start()
    agent.wait_log(f"{request_id}: done")
    assert line.carried - carried < MB


def test_connection_to_the_broker_that_comes_back_hurries_the_next_attempt(house, line):
    """The back-off may be minutes by then; that MQTT is back says that the link is."""
    mqtt = house.closing(Proxy(house.devices_port))
    agent = house.start_agent("restaurant_1", {
        "mqtt": {"port": mqtt.port}, "receiver": {"url": f"https://127.0.0.1:{line.port}", "backoff_min": "10m",
                                                    "backoff_max": "10m"}})
    path = agent.file("small", b"small")
    house.receiver.kill()
    request_id = house.ask("restaurant_1", path)
    agent.wait_log(f"{request_id}: attempt 1 failed")
    house.receiver.start()
    mqtt.cut()
    assert_whole(house, path, request_id)


def test_file_system_that_is_mounted_late_costs_no_job(house, agent, line, source):
    """A reboot: the agent is up before the folder has its files."""
    house.receiver.kill()
    request_id = house.ask("restaurant_1", source)
    agent.wait_log(f"{request_id}: attempt 1 failed")
    agent.kill()
    hidden = source.parent.with_name("not-mounted-yet")
    source.parent.rename(hidden)
    source.parent.mkdir()
    house.receiver.start()
    agent.start()
    agent.wait_log(f"{request_id}: .*FILE_NOT_FOUND")
    source.parent.rmdir()
    hidden.rename(source.parent)
    assert_whole(house, source, request_id)


def test_worker_holds_nothing_of_the_agents(house, agent, line, source):
    request_id = house.ask("restaurant_1", source)
    wait_carried(line, SIZE // 4)
    worker, = agent.workers()
    fds = {int(name): os.readlink(f"/proc/{worker}/fd/{name}") for name in os.listdir(f"/proc/{worker}/fd")}
    own = set(os.readlink(f"/proc/{agent.pid}/fd/{name}") for name in os.listdir(f"/proc/{agent.pid}/fd"))
    shared = {fd: target for fd, target in fds.items() if target.startswith("socket:") and target in own}
    assert not shared, shared
    assert_whole(house, source, request_id)
