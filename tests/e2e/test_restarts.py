"""Programs are killed in the middle of their work and started again; the work goes on."""

import json
import os
import shutil
import signal

import pytest

from harness.house import command_payload
from harness.waiting import SLOWNESS, stays, wait_until

SIZE = 900_000 * (2 if SLOWNESS > 1 else 1)  # some seconds of bytes that flow


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


@pytest.fixture
def agent(house):
    return house.agents["restaurant_1"]


@pytest.fixture
def begun(house, agent, request):
    """A request whose bytes are just flowing: (content, id)."""
    data = os.urandom(SIZE)
    path = agent.file(request.node.name, data)
    result = house.cli("get", "restaurant_1", path, "--no-wait", "--json", "--rate", "300K")
    assert result.returncode == 0, result.stderr
    request_id = json.loads(result.stdout)["requestId"]
    house.wait_status(request_id, "running")
    house.wait_bytes(request_id)
    return data, request_id


def assert_completes(house, begun):
    data, request_id = begun
    row = house.wait_status(request_id, "completed", "failed", timeout_s=40)
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data
    assert house.parts(request_id) == []


def test_agent_killed_in_the_middle_of_an_upload(house, agent, begun):
    agent.kill()
    agent.start()
    assert_completes(house, begun)


def test_agent_stopped_in_the_middle_of_an_upload(house, agent, begun):
    agent.restart()
    assert_completes(house, begun)


def test_worker_killed_in_the_middle_of_an_upload(house, agent, begun):
    (worker,) = agent.workers()
    os.kill(worker, 9)
    assert_completes(house, begun)


def test_receiver_killed_in_the_middle_of_an_upload(house, begun):
    house.receiver.kill()
    assert house.stored("restaurant_1", begun[1]) is None
    house.receiver.start()
    assert_completes(house, begun)


def test_receiver_stopped_in_the_middle_of_an_upload(house, begun):
    house.receiver.restart()
    assert_completes(house, begun)


def test_coordinator_killed_in_the_middle_of_an_upload(house, begun):
    house.coordinator.kill()
    house.coordinator.start()
    assert_completes(house, begun)


def test_broker_killed_in_the_middle_of_an_upload(house, begun):
    house.broker.kill()
    house.broker.start()
    assert_completes(house, begun)


def test_everything_killed_in_the_middle_of_an_upload(house, agent, begun):
    daemons = [agent, house.receiver, house.coordinator, house.broker]
    for daemon in daemons:
        daemon.kill()
    for daemon in reversed(daemons):
        daemon.start()
    assert_completes(house, begun)


def test_broker_that_lost_its_memory_is_told_everything_again(house, agent):
    agent.stop()
    request_id = house.ask("restaurant_1", agent.file("remembered", b"remembered"))
    house.broker.stop()
    shutil.rmtree(house.folder / "broker")
    (house.folder / "broker").mkdir()
    house.broker.start()
    agent.start()
    row = house.wait_status(request_id, "completed", "failed", timeout_s=40)
    assert row["status"] == "completed", row


def test_request_to_an_agent_that_is_away_is_done_when_it_comes(house, agent):
    agent.stop()
    house.wait_online("restaurant_1", online=False)
    request_id = house.ask("restaurant_1", agent.file("patient", b"patient"))
    assert house.request_row(request_id)["status"] == "queued"
    agent.start()
    house.wait_status(request_id, "completed")


def test_request_while_the_broker_is_away_is_done_when_it_comes(house, agent):
    house.broker.kill()
    house.coordinator.wait_log("trying again")
    request_id = house.ask("restaurant_1", agent.file("brokerless", b"brokerless"))
    assert house.request_row(request_id)["status"] == "queued"
    house.broker.start()
    house.wait_status(request_id, "completed", timeout_s=40)


def test_upload_waits_for_a_receiver_that_is_away(house, agent):
    house.receiver.kill()
    request_id = house.ask("restaurant_1", agent.file("waiting", b"waiting"))
    house.wait_status(request_id, "accepted", "running")
    agent.wait_log(r"(?i)refused|connect|again")
    stays(lambda: house.request_row(request_id)["status"] in ("accepted", "running"), "goes on trying", 1)
    house.receiver.start()
    house.wait_status(request_id, "completed")


def test_daemons_start_before_their_broker(house, agent):
    daemons = [agent, house.receiver, house.coordinator, house.broker]
    for daemon in daemons:
        daemon.stop()
    house.receiver.start()
    house.coordinator.start()
    agent.start(wait=False)
    agent.wait_log("trying again")
    house.broker.start()
    house.wait_online("restaurant_1")
    house.wait_status(house.ask("restaurant_1", agent.file("early", b"early")), "completed")


def test_cancelled_request_stays_cancelled_across_a_restart_of_the_agent(house, agent, begun):
    request_id = begun[1]
    agent.kill()
    assert house.cli("cancel", request_id).returncode == 0
    agent.start()
    house.wait_status(request_id, "cancelled")
    wait_until(lambda: not agent.workers(), "the agent to be idle")
    assert house.stored("restaurant_1", request_id) is None


def test_finished_ids_are_remembered_across_a_restart_of_the_agent(house, agent):
    operator = house.observer()
    path = agent.file("once", b"once")
    operator.publish("beckon/v1/restaurant_1/cmd/upload/remember-me", command_payload(path))
    operator.wait_for("beckon/v1/restaurant_1/receipt/remember-me")
    operator.wait_for("beckon/v1/restaurant_1/status/remember-me", lambda status: status["state"] == "done")
    agent.restart()
    operator.messages.clear()
    path.write_bytes(b"twice")
    operator.publish("beckon/v1/restaurant_1/cmd/upload/remember-me", command_payload(path))
    told = operator.wait_for("beckon/v1/restaurant_1/status/remember-me")
    assert told["state"] == "done" and told["size"] == 4, told
    assert house.stored("restaurant_1", "remember-me").read_bytes() == b"once"


@pytest.mark.parametrize("name", ["agent", "receiver", "coordinator"])
def test_daemon_ends_cleanly_on_sigint(house, agent, name):
    daemon = agent if name == "agent" else getattr(house, name)
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(10 * SLOWNESS) == 0
    daemon.process = None
    daemon.start()


def test_finished_files_and_rows_survive_restarts(house, agent):
    path = agent.file("kept", b"kept")
    request_id = house.ask("restaurant_1", path)
    house.wait_status(request_id, "completed")
    house.receiver.kill()
    house.coordinator.kill()
    house.receiver.start()
    house.coordinator.start()
    assert house.request_row(request_id)["status"] == "completed"
    location = house.api().request("GET", f"/download/{request_id}/content")["Location"]
    assert house.https().request("GET", location[len(house.receiver_url):]).body == b"kept"
