"""An agent works on two uploads at a time, keeps a bounded queue, and lets go of what is cancelled."""

import os
from datetime import datetime

import pytest

from harness.house import command_payload
from harness.waiting import stays, wait_until

SLOW = 100_000  # bytes a second
CONCURRENCY, QUEUE = 2, 3


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(agent={"agent": {"concurrency": CONCURRENCY, "queue": QUEUE}})


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


@pytest.fixture(scope="module")
def operator(house):
    return house.observer()


@pytest.fixture
def ask(agent, operator, upload):
    """Asks for a new file with an id of this test's own, slowly; whatever is left is cancelled in the end."""
    asked = []

    def send(label, size=5_000_000, rate=SLOW):
        one = f"{upload}-{label}"
        path = agent.file(one, os.urandom(size))
        asked.append(one)
        operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{one}", command_payload(path, rate=rate))
        return one
    yield send
    for one in asked:
        operator.publish(f"beckon/v1/restaurant_1/cmd/cancel/{one}", {})
    wait_until(lambda: not agent.workers(), "the agent to be idle again")


def state_is(operator, upload, *states):
    return operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}", lambda message: message["state"] in states)


def test_two_run_three_wait_and_the_sixth_is_turned_away_until_there_is_room(house, agent, operator, ask):
    running = [ask(f"run{number}") for number in range(CONCURRENCY)]
    for upload in running:
        state_is(operator, upload, "running")
    waiting = [ask(f"wait{number}") for number in range(QUEUE)]
    for upload in waiting:
        state_is(operator, upload, "accepted")
    refused_id = ask("toomany")
    refused = state_is(operator, refused_id, "rejected")
    assert (refused["error"]["code"], refused["error"]["reason"]) == ("resource_exhausted", "QUEUE_FULL"), refused
    stays(lambda: len(agent.workers()) == CONCURRENCY, "exactly two workers", 0.5)
    for upload in waiting:
        assert all(message["state"] == "accepted" for message in operator.on(f"beckon/v1/restaurant_1/status/{upload}"))
    operator.publish(f"beckon/v1/restaurant_1/cmd/cancel/{running[0]}", {})
    state_is(operator, waiting[0], "running")
    assert house.request_row(refused_id)["status"] == "rejected", "whoever asks over MQTT asks again"
    state_is(operator, ask("toomany"), "accepted")


def test_cancel_while_queued(house, agent, operator, ask):
    for number in range(CONCURRENCY):
        state_is(operator, ask(f"run{number}"), "running")
    queued = ask("queued")
    state_is(operator, queued, "accepted")
    assert house.cli("cancel", queued).returncode == 0
    state_is(operator, queued, "cancelled")
    house.wait_status(queued, "cancelled")
    assert house.stored("restaurant_1", queued) is None


def test_cancel_while_running_ends_the_worker_and_the_part(house, agent, operator, ask):
    upload = ask("running")
    state_is(operator, upload, "running")
    house.wait_bytes(upload)
    assert house.cli("cancel", upload).returncode == 0
    state_is(operator, upload, "cancelled")
    wait_until(lambda: not agent.workers(), "the worker to end")
    house.wait_status(upload, "cancelled")
    assert house.stored("restaurant_1", upload) is None
    wait_until(lambda: not house.parts(upload), "the receiver to drop the part")


def test_cancel_after_it_was_done_changes_nothing(house, operator, ask):
    upload = ask("done", size=1000)
    house.wait_status(upload, "completed")
    house.cli("cancel", upload)
    operator.publish(f"beckon/v1/restaurant_1/cmd/cancel/{upload}", {})
    after = ask("after", size=1000)  # the agent has heard the cancel when it answers this one
    house.wait_status(after, "completed")
    assert house.request_row(upload)["status"] == "completed"
    assert house.stored("restaurant_1", upload).stat().st_size == 1000
    assert house.cli("get", "restaurant_1", house.agents["restaurant_1"].files / upload).returncode == 0


def test_rate_is_roughly_honoured(house, operator, ask):
    upload = ask("rated", size=600_000, rate=300_000)
    accepted = state_is(operator, upload, "accepted")
    done = state_is(operator, upload, "done")
    took_s = at(done) - at(accepted)
    assert 1.2 < took_s < 10, f"600 KB at 300 KB/s took {took_s:.1f} s"
    running = [message for message in operator.on(f"beckon/v1/restaurant_1/status/{upload}") if message["state"] == "running"]
    assert 1 <= len(running) <= took_s + 2, "progress is told at most once a second"
    assert [message["sent"] for message in running] == sorted(message["sent"] for message in running)


def at(message):
    return datetime.fromisoformat(message["at"].replace("Z", "+00:00")).timestamp()
