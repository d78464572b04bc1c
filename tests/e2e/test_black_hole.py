"""The broker vanishes without a word, as behind a NAT box that lost its table or a cable that was pulled."""

import os
import time

import pytest

from conftest import opened
from harness.house import House, command_payload
from harness.network import OwnNetwork
from harness.proxy import Proxy
from harness.waiting import SLOWNESS, wait_until

# An agent, or daemon, with keepalive 5 s notices within two of these, and the grain in which it looks. Then it tries, with waits of up to
# 1 s. An attempt that is under way when the network comes back ends by its own deadline: 15 s for a broker that accepts and
# is silent, 10 s for one that is not heard at all, where TCP's own repeated SYN usually succeeds before that.
NOTICED_S = 10 + 2.5
BACK_AFTER_SILENCE_S = 15 + 1 + 3
BACK_AFTER_LOST_PACKETS_S = 10 + 1 + 3
DARK_S = 14


def begin_upload(house, operator, agent, upload, seconds):
    """Starts an upload that takes about that long."""
    rate = 100_000
    data = os.urandom(int(rate * seconds))
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(agent.file(upload, data), rate=rate))
    operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda message: message["state"] == "running")
    return data, agent.workers()


def assert_undisturbed(house, agent, upload, data, workers, operator):
    """It ended in its first attempt, by the very process that began it."""
    operator.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}", timeout_s=30)
    assert house.stored("restaurant_1", upload).read_bytes() == data
    done = operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda message: message["state"] == "done", timeout_s=30)
    assert done["attempt"] == 1, done
    assert len(workers) == 1


def outage(house, operator, agent, go_dark, light_up, back_within_s):
    """The common course of events."""
    data, workers = begin_upload(house, operator, agent, "inflight", DARK_S - 4)
    go_dark()
    dark_since = time.monotonic()
    agent.wait_log(r"trying again", timeout_s=NOTICED_S)
    wait_until(lambda: house.stored("restaurant_1", "inflight"), "the upload to end while the broker is away", 30)
    asked = house.ask("restaurant_1", agent.file("meanwhile", b"meanwhile"))
    wait_until(lambda: time.monotonic() - dark_since > DARK_S, "the outage to be long enough", DARK_S + 5)
    assert house.request_row(asked)["status"] == "queued"
    light_up()
    back_since = time.monotonic()
    agent.wait_log("connected to the broker", count=2, timeout_s=back_within_s)
    print(f"back after {time.monotonic() - back_since:.1f} s")
    assert_undisturbed(house, agent, "inflight", data, workers, operator)
    house.wait_status(asked, "completed")


def test_broker_that_is_silent_behind_open_connections(house):
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    line = house.closing(Proxy(house.devices_port))
    agent = house.start_agent("restaurant_1", {"mqtt": {"port": line.port}})
    outage(house, house.observer(), agent, line.black_out, line.light_up, BACK_AFTER_SILENCE_S)
    agent_log = [text for text in agent.log_lines("trying again") if "DEBUG" not in text.upper()]
    assert len(agent_log) <= 3 * SLOWNESS, f"an outage is told once, not at each try: {agent_log}"


def test_broker_whose_packets_vanish(folder, pki):
    reason = OwnNetwork.why_not()
    if reason:
        pytest.skip(reason)
    with OwnNetwork() as network, opened(House(folder, pki)) as house:
        house.start()
        outage(house, house.observer(), house.agents["restaurant_1"],
               lambda: network.black_hole(house.devices_port), network.heal, BACK_AFTER_LOST_PACKETS_S)


def test_connection_that_is_reset_comes_back_at_once(house):
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    line = house.closing(Proxy(house.devices_port))
    agent = house.start_agent("restaurant_1", {"mqtt": {"port": line.port}})
    for count in range(2, 5):
        line.cut()
        agent.wait_log("connected to the broker", count=count, timeout_s=5)
    path = agent.file("x", b"x")
    house.wait_status(house.ask("restaurant_1", path), "completed")


def readiness(https):
    answer = https.request("GET", "/readyz")
    return answer.status, answer.json()["status"]


def test_coordinator_and_receiver_are_not_ready_while_the_broker_is_silent(house):
    house.start_broker()
    line = house.closing(Proxy(house.people_port))
    house.start_receiver({"mqtt": {"port": line.port}})
    house.start_coordinator({"mqtt": {"port": line.port}})
    daemons = (house.api(), house.https())
    wait_until(lambda: all(readiness(https)[0] == 200 for https in daemons), "both to be ready")
    line.black_out()
    wait_until(lambda: all(readiness(https) == (503, "not connected to the broker") for https in daemons),
               lambda: f"the silence to be noticed: {list(map(readiness, daemons))}", NOTICED_S)
    line.light_up()
    wait_until(lambda: all(readiness(https)[0] == 200 for https in daemons), "both to be ready again", BACK_AFTER_SILENCE_S)
