"""Brokers that do not take what an agent says: the device stays on line, and what was refused does not count as told."""

import json

from harness.house import command_payload
from harness.waiting import wait_until


def test_message_too_large_for_the_broker_does_not_take_the_device_off_line(house):
    house.start_broker("max_packet_size 2000")
    agent = house.start_agent("restaurant_1")
    operator = house.observer()
    operator.publish("beckon/v1/restaurant_1/cmd/upload/too-long", command_payload("/no/such/" + "x" * 1800))
    agent.wait_log("is dropped")
    operator.publish("beckon/v1/restaurant_1/cmd/upload/short", command_payload("/no/such"))
    assert operator.wait_for("beckon/v1/restaurant_1/status/short")["state"] == "rejected"
    assert len(agent.log_lines("connected to the broker")) == 1


def test_end_that_the_acl_refused_is_not_taken_for_told(house):
    house.start_broker()
    rules = house.folder / "devices.acl"
    agent = house.start_agent("restaurant_1")
    text = rules.read_text() if rules.exists() else None
    record = agent.state / "jobs" / "untold.json"
    if text is None:
        acl = next(line.split()[1] for line in (house.folder / "mosquitto.conf").read_text().splitlines()
                   if line.startswith("acl_file") and "devices" in line)
        rules.write_text("".join(line for line in open(acl, encoding="utf-8").readlines() if "status" not in line))
        conf = house.folder / "mosquitto.conf"
        conf.write_text(conf.read_text().replace(acl, str(rules)))
    house.broker.restart()
    agent.wait_log("connected to the broker", count=2)
    house.observer().publish("beckon/v1/restaurant_1/cmd/upload/untold", command_payload("/no/such"))
    agent.wait_log("ACL refuses a message on beckon/v1/restaurant_1/status/untold")
    wait_until(record.exists, "the record")
    assert json.loads(record.read_text())["reported"] is False
