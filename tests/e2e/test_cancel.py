"""A cancel in every state. What became of the upload is for the receiver to say, so it is asked until it answers: in these
tests by the agent alone, because the receiver hears nothing from the broker."""

import json
import os

import pytest

from harness.clock import Clock, faketime_library
from harness.house import merge, write_config
from harness.ports import free_port
from harness.proxy import Proxy
from harness.waiting import SANITIZED, wait_until

MB = 1024 * 1024
SIZE = (2 if SANITIZED else 8) * MB
CLIENT = "restaurant_1"


@pytest.fixture
def line(house):
    house.start_broker()
    house.start_receiver({"mqtt": {"port": free_port()}})
    house.start_coordinator()
    return house.closing(Proxy(house.receiver_port))


@pytest.fixture
def agent(house, line):
    return house.start_agent(CLIENT, {"agent": {"concurrency": 1}, "receiver": {
        "url": f"https://127.0.0.1:{line.port}", "rate": "512K" if SANITIZED else "2M", "stall_time": "3s"}})


@pytest.fixture
def operator(house):
    return house.observer()


@pytest.fixture
def begun(house, agent, line):
    """The id of a request whose bytes are flowing."""
    request_id = house.ask(CLIENT, agent.file("source", os.urandom(SIZE)))
    house.wait_bytes(request_id)
    return request_id


def go_dark(line):
    line.black_out()
    line.cut()


def job(agent, request_id):
    return json.loads((agent.state / "jobs" / f"{request_id}.json").read_text())


def cancel(house, operator, request_id):
    """Returns when the agent has heard it: it is cancelling, and the row is not final."""
    assert house.cli("cancel", request_id).returncode == 0
    status = operator.wait_for(f"beckon/v1/{CLIENT}/status/{request_id}",
                               lambda status: (status.get("error") or {}).get("reason") == "CANCELLING")
    assert status["state"] == "running", status
    row = house.request_row(request_id)
    assert row["status"] == "running" and row["cancelRequested"], row


def assert_cancelled(house, agent, request_id):
    row = house.wait_status(request_id, "cancelled", "completed", "failed")
    assert row["status"] == "cancelled", row
    assert job(agent, request_id)["status"]["state"] == "cancelled"
    assert not house.parts(request_id) and house.stored(CLIENT, request_id) is None


@pytest.mark.parametrize("when", ["running", "waiting"])
def test_cancel_that_the_receiver_can_not_hear_yet(house, agent, line, operator, begun, when):
    go_dark(line)
    if when == "waiting":
        agent.wait_log(f"{begun}: attempt 1 failed")
    cancel(house, operator, begun)
    agent.wait_log(f"{begun}: attempt .* failed: CANCELLING .*trying again", count=2)
    assert house.parts(begun) and house.request_row(begun)["status"] == "running"
    line.light_up()
    assert_cancelled(house, agent, begun)


def test_receiver_that_hears_of_it_from_the_broker_drops_the_part_at_once(house, agent, line, operator, begun):
    house.receiver.stop()
    write_config(house.folder / "receiver.conf", house.receiver_config())
    go_dark(line)
    house.receiver.start()
    cancel(house, operator, begun)
    wait_until(lambda: not house.parts(begun), "the part to go")
    assert house.request_row(begun)["status"] == "running"
    line.light_up()
    assert_cancelled(house, agent, begun)


def test_cancel_survives_the_agent(house, agent, line, operator, begun):
    """Killed before it could tell the receiver; the coordinator has no part in what follows."""
    go_dark(line)
    cancel(house, operator, begun)
    agent.kill()
    house.coordinator.stop()
    line.light_up()
    agent.start()
    wait_until(lambda: job(agent, begun)["status"]["state"] == "cancelled", "the agent to have cancelled")
    assert not house.parts(begun)
    house.coordinator.start()
    assert_cancelled(house, agent, begun)


def test_cancel_that_comes_too_late_is_done(house, agent, line, operator, begun):
    """The receiver has the file, and nobody else knows."""
    line.mute()
    wait_until(lambda: house.stored(CLIENT, begun), "the file to arrive")
    go_dark(line)
    cancel(house, operator, begun)
    line.light_up()
    operator.wait_for(f"beckon/v1/{CLIENT}/status/{begun}", lambda status: status["state"] == "done")
    assert house.stored(CLIENT, begun).stat().st_size == SIZE
    assert house.request_row(begun)["status"] == "running"  # no receipt can reach the coordinator here


def test_cancel_does_not_wait_for_the_end_of_another_upload(house, line):
    """The device has one place. An upload that failed waits for its next attempt, and another has the place meanwhile."""
    agent = house.start_agent(CLIENT, {"agent": {"concurrency": 1}, "receiver": {
        "url": f"https://127.0.0.1:{line.port}", "rate": "100K", "backoff_min": "10s", "backoff_max": "10s"}})
    first = house.ask(CLIENT, agent.file("first", os.urandom(SIZE)))
    house.wait_bytes(first)
    other = house.ask(CLIENT, agent.file("other", os.urandom(SIZE)))
    house.wait_status(other, "accepted")
    line.cut()
    house.wait_bytes(other)
    assert house.cli("cancel", first).returncode == 0
    assert_cancelled(house, agent, first)
    assert house.request_row(other)["status"] == "running"
    assert house.cli("cancel", other).returncode == 0
    assert_cancelled(house, agent, other)


@pytest.mark.parametrize("what", [
    pytest.param("time", marks=pytest.mark.skipif(SANITIZED or not faketime_library(), reason="no libfaketime, or not with sanitizers")), "key"])
def test_cancel_outlives_the_ticket(house, what):
    """The ticket's time is over, or its key is not the coordinator's any more, when the receiver can be told."""
    clock, pki = Clock(house), house.pki
    if what == "time":
        house.launch["receiver"] = ([], clock.environment())
    required = {"mqtt": {"port": free_port()}, "receiver": {"require_ticket": "yes"}}
    house.start_broker()
    house.start_receiver(required)
    house.start_coordinator()
    line = house.closing(Proxy(house.receiver_port))
    agent = house.start_agent(CLIENT, {"agent": {"coordinator_key": pki.token_public("coordinator")}, "receiver": {
        "url": f"https://127.0.0.1:{line.port}", "rate": "512K", "stall_time": "3s"}})
    begun = house.ask(CLIENT, agent.file("source", os.urandom(SIZE)))
    house.wait_bytes(begun)
    go_dark(line)
    cancel(house, house.observer(), begun)
    if what == "time":
        clock.set(30 * 86400)
    else:
        other = {"receiver": {"coordinator_key": pki.token_public("another")}}
        write_config(house.folder / "receiver.conf", merge(house.receiver_config(), merge(required, other)))
        house.receiver.restart()
    line.light_up()
    row = house.wait_status(begun, "cancelled", "completed", "failed")
    assert row["status"] == "cancelled" and job(agent, begun)["status"]["state"] == "cancelled", row
    assert not (what == "time" and house.parts(begun))  # a stranger's key: it is left to the receiver's own tidying
