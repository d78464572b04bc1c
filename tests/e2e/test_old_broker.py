"""Everything works with a broker that speaks MQTT 3.1.1 only."""

import pytest

from harness.old_broker import OldBroker
from harness.waiting import wait_until


@pytest.mark.parametrize("answer", [True, False], ids=["that says so", "that just closes"])
def test_broker_without_mqtt_5(house, folder, pki, answer):
    broker = house.closing(OldBroker(folder, pki.server("localhost"), answer))
    house.devices_port = house.people_port = broker.port
    house.start_receiver()
    house.start_coordinator()
    agent = house.start_agent()
    for daemon in (agent, house.receiver, house.coordinator):
        assert "3.1.1" in daemon.wait_log("connected to the broker")
    assert broker.turned_away >= 1
    result = house.cli("get", "restaurant_1", agent.file("x", b"x" * 100000), "-o", folder / "out")
    assert result.returncode == 0, result.stderr
    assert (folder / "out").read_bytes() == b"x" * 100000

    agent.kill()
    house.wait_online("restaurant_1", online=False)
    request_id = house.ask("restaurant_1", agent.files / "x")
    agent.start()
    house.wait_status(request_id, "completed")
    wait_until(lambda: broker.let_in >= 4, "a persistent session to be taken up again")
