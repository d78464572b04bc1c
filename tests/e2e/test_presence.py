"""Who is shown as online: nobody whose heart has stopped, whatever the broker still has in its memory."""

import signal
import time

import pytest

from harness.waiting import SANITIZED, wait_until

OFFLINE_AFTER_S = 16 if SANITIZED else 8  # the bound of every agent here, for three heartbeats are less
COORDINATOR = {"coordinator": {"offline_after": f"{OFFLINE_AFTER_S}s"}}
AGENT = {"agent": {"heartbeat": "1s"}}


@pytest.fixture
def house(house):
    house.start_broker()
    house.start_coordinator(COORDINATOR)
    for name in ("dead", "alive"):
        house.start_agent(name, AGENT)
    return house


def die_with_the_broker(house, *daemons):
    """All at once, after the broker has saved that the agents are online: no last will is sent by anybody."""
    saved = house.folder / "broker" / "mosquitto.db"
    saved.unlink(missing_ok=True)
    house.broker.process.send_signal(signal.SIGUSR1)
    wait_until(saved.exists, "the broker to save what it has")
    for daemon in (house.broker, *daemons):
        daemon.kill()


def shown_online(house, name):
    return house.api().request("GET", f"/clients/{name}").json()["online"]


def test_agent_that_died_with_the_broker_is_offline_after_a_while(house):
    die_with_the_broker(house, house.agents["dead"])
    house.broker.start()
    house.wait_online("dead", online=False)
    house.coordinator.wait_log("dead.*nothing was heard")
    house.wait_online("alive")
    house.agents["dead"].start()
    house.wait_online("dead")


def test_coordinator_that_starts_later_does_not_believe_the_broker_for_ever(house):
    die_with_the_broker(house, house.agents["dead"], house.coordinator)
    house.broker.start()
    started = time.monotonic()
    house.coordinator.start()
    house.wait_online("dead")  # for all that is known
    house.wait_online("dead", online=False)
    assert time.monotonic() - started >= OFFLINE_AFTER_S
    house.wait_online("alive")
