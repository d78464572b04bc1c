"""One trace from the REST request to the receipt: the same id in everybody's log."""

import json
import os
import re

import pytest

from harness.house import command_payload
from harness.observer import Observer
from harness.waiting import wait_until

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
JSON_LOG = {"log": {"format": "json", "level": "debug"}}
VALID = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start(receiver=JSON_LOG, coordinator=JSON_LOG, agent=JSON_LOG)


def lines_of(daemon, upload):
    """The JSON log lines, of all its runs, that name an upload."""
    lines = []
    for log in sorted(daemon.folder.glob(f"{daemon.name}.*.log")):
        lines += [json.loads(line) for line in log.read_text().splitlines() if upload in line]
    return [line for line in lines if line.get("upload") == upload]


def check_lines(house, client, upload, trace):
    for daemon in (house.coordinator, house.agents[client], house.receiver):
        lines = lines_of(daemon, upload)
        assert lines, f"{daemon.name} has logged nothing of {upload}"
        for line in lines:
            assert line.get("trace") == trace and line.get("client") == client, (daemon.name, line)


def ask(house, path, **headers):
    request = house.ask("restaurant_1", path, **headers)
    row = house.request_row(request)
    return request, row["traceparent"]


def test_the_caller_s_trace_is_in_every_line_and_in_the_receipt(house):
    operator = house.observer()
    request, traceparent = ask(house, house.agents["restaurant_1"].file("traced", b"x" * 5000), traceparent=CALLER)
    assert traceparent == CALLER
    house.wait_status(request, "completed")
    receipt = operator.wait_for(f"beckon/v1/restaurant_1/receipt/{request}")
    assert receipt["traceparent"] == CALLER
    record = json.loads((house.store / "restaurant_1" / f"{request}.json").read_text())
    assert record["traceparent"] == CALLER
    house.agents["restaurant_1"].wait_log(f"{request}.*done")
    check_lines(house, "restaurant_1", request, CALLER[3:35])
    assert house.request_row(request)["traceparent"] == CALLER


@pytest.mark.parametrize("header", [None, "", "00-0-0-0", CALLER.upper(), "ff" + CALLER[2:], CALLER + "-more", "00-" + "0" * 32 + CALLER[35:]])
def test_without_a_valid_one_a_new_trace_begins(house, header):
    headers = {} if header is None else {"traceparent": header}
    request, traceparent = ask(house, house.agents["restaurant_1"].file("untraced", os.urandom(10)), **headers)
    match = VALID.fullmatch(traceparent)
    assert match and match[1] != CALLER[3:35], traceparent
    house.wait_status(request, "completed")
    house.agents["restaurant_1"].wait_log(f"{request}.*done")
    check_lines(house, "restaurant_1", request, match[1])


def test_a_newer_version_s_trace_is_passed_on_as_ours(house):
    request, traceparent = ask(house, "/nowhere", traceparent="42" + CALLER[2:53] + "ff-whatever")
    assert traceparent == CALLER
    house.wait_status(request, "rejected")
    assert all(line["trace"] == CALLER[3:35] for line in lines_of(house.agents["restaurant_1"], request))


def test_a_repeat_of_the_request_keeps_its_first_trace(house):
    path = house.agents["restaurant_1"].file("twice", b"twice")
    headers = {"Idempotency-Key": "trace-twice"}
    request, traceparent = ask(house, path, **headers, traceparent=CALLER)
    again, same = ask(house, path, **headers)
    assert (again, same) == (request, traceparent)


def test_a_command_from_elsewhere_brings_its_trace_or_begins_one(house, upload):
    operator = house.observer()
    agent = house.agents["restaurant_1"]
    path = agent.file("by-hand", b"by hand")
    for name, extra in ((upload + "-a", {"traceparent": CALLER}), (upload + "-b", {}), (upload + "-c", {"traceparent": "nonsense"})):
        operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{name}", command_payload(path, **extra))
        traceparent = operator.wait_for(f"beckon/v1/restaurant_1/receipt/{name}")["traceparent"]
        assert traceparent == CALLER if "traceparent" in extra and name.endswith("-a") else VALID.fullmatch(traceparent)
        agent.wait_log(f"{name}.*done")
        for daemon in (agent, house.receiver):
            lines = lines_of(daemon, name)
            assert lines and all(line["trace"] == traceparent[3:35] for line in lines), (daemon.name, lines)
        house.wait_status(name, "completed")
        assert house.request_row(name)["traceparent"] == traceparent  # from the receipt


def with_properties(observer, request):
    """{(kind of topic, traceparent)} of the messages heard about a request."""
    return {(topic.split("/", 3)[3].rsplit("/", 1)[0], properties.get("traceparent"))
            for topic, properties in observer.user_properties if request in topic}


def test_with_mqtt_5_every_message_of_an_upload_has_it_as_user_property(house):
    operator = house.observer(mqtt5=True)
    request, _ = ask(house, house.agents["restaurant_1"].file("property", b"p" * 5000), traceparent=CALLER)
    operator.wait_for(f"beckon/v1/restaurant_1/status/{request}", lambda status: status["state"] == "done")
    operator.wait_for(f"beckon/v1/restaurant_1/receipt/{request}")
    assert with_properties(operator, request) == {("status", CALLER), ("receipt", CALLER)}


def test_with_mqtt_5_a_device_gets_it_as_user_property(house):
    commands = ["beckon/v1/restaurant_2/cmd/upload/+", "beckon/v1/restaurant_2/cmd/cancel/+"]
    device = house.closing(Observer(house.devices_port, house.pki.ca, house.pki.client("restaurant_2"), subscribe=commands, mqtt5=True))
    device.publish("beckon/v1/restaurant_2/presence", {"online": True})
    house.wait_online("restaurant_2")
    request = house.api().request("POST", "/download", {"clientId": "restaurant_2", "fileName": "/x"}, {"traceparent": CALLER}).json()["requestId"]
    device.wait_for(f"beckon/v1/restaurant_2/cmd/upload/{request}")
    assert house.api().request("DELETE", f"/download/{request}").status in (200, 202)
    device.wait_for(f"beckon/v1/restaurant_2/cmd/cancel/{request}")
    assert with_properties(device, request) == {("cmd/upload", CALLER), ("cmd/cancel", CALLER)}


def test_with_mqtt_5_the_receiver_gets_it_as_user_property(house):
    """Asked whether it has what did not come in time, again after a restart too, and to remove what it has."""
    receiver = house.observer("receiver", subscribe=["beckon/v1/+/cmd/receipt/+", "beckon/v1/+/cmd/remove/+"], mqtt5=True)
    silent = house.closing(Observer(house.devices_port, house.pki.ca, house.pki.client("restaurant_3")))
    silent.publish("beckon/v1/restaurant_3/presence", {"online": True})
    house.wait_online("restaurant_3")
    late = house.api().request("POST", "/download", {"clientId": "restaurant_3", "fileName": "/x", "expires": 1},
                               {"traceparent": CALLER}).json()["requestId"]
    house.wait_status(late, "expired")
    receiver.wait_for(f"beckon/v1/restaurant_3/cmd/receipt/{late}")
    house.coordinator.restart()
    wait_until(lambda: len(receiver.on(f"beckon/v1/restaurant_3/cmd/receipt/{late}")) > 1, "the question after the restart")
    house.wait_online("restaurant_1")
    removed, _ = ask(house, house.agents["restaurant_1"].file("removed", b"r"), traceparent=CALLER)
    house.wait_status(removed, "completed")
    assert house.api().request("DELETE", f"/download/{removed}/content").status == 202
    receiver.wait_for(f"beckon/v1/restaurant_1/cmd/remove/{removed}")
    assert with_properties(receiver, late) == {("cmd/receipt", CALLER)}
    assert with_properties(receiver, removed) == {("cmd/remove", CALLER)}


@pytest.mark.parametrize("given", [CALLER, "nonsense", ""])
def test_a_command_s_user_property_is_its_trace_where_its_json_has_none(house, upload, given):
    operator = house.observer(mqtt5=True)
    path = house.agents["restaurant_1"].file("by-property", b"by property")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path), other="thing", traceparent=given)
    traceparent = operator.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}")["traceparent"]
    assert traceparent == CALLER if given == CALLER else VALID.fullmatch(traceparent)[1] != CALLER[3:35]
    house.agents["restaurant_1"].wait_log(f"{upload}.*done")
    assert all(line["trace"] == traceparent[3:35] for line in lines_of(house.agents["restaurant_1"], upload))


def test_a_command_s_json_goes_before_its_user_property(house, upload):
    operator = house.observer(mqtt5=True)
    path = house.agents["restaurant_1"].file("by-both", b"by both")
    other = CALLER.replace("4bf9", "5bf9")
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", command_payload(path, traceparent=CALLER), traceparent=other)
    assert operator.wait_for(f"beckon/v1/restaurant_1/receipt/{upload}")["traceparent"] == CALLER


def test_a_trace_of_the_wrong_type_spoils_the_command(house, upload):
    operator = house.observer()
    operator.publish(f"beckon/v1/restaurant_1/cmd/upload/{upload}", {"path": "/x", "traceparent": 5})
    status = operator.wait_for(f"beckon/v1/restaurant_1/status/{upload}")
    assert status["error"]["reason"] == "INVALID_COMMAND", status


def test_a_cancel_in_the_middle_belongs_to_the_trace_too(house):
    agent = house.agents["restaurant_1"]
    path = agent.file("slow", b"x" * 5_000_000)
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "rate": 100000},
                                 {"traceparent": CALLER})
    request = answer.json()["requestId"]
    house.wait_status(request, "running")
    house.wait_bytes(request)
    assert house.api().request("DELETE", f"/download/{request}").status == 202
    house.wait_status(request, "cancelled")
    check_lines(house, "restaurant_1", request, CALLER[3:35])


def test_the_trace_outlives_restarts_of_everybody(house):
    agent = house.agents["restaurant_1"]
    path = agent.file("long", os.urandom(3_000_000))
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "rate": 1_000_000},
                                 {"traceparent": CALLER})
    request = answer.json()["requestId"]
    house.wait_status(request, "running")
    house.wait_bytes(request)
    for daemon in (agent, house.coordinator, house.receiver):
        daemon.kill()
    for daemon in (house.receiver, house.coordinator, agent):
        daemon.start()
    house.wait_status(request, "completed", timeout_s=60)
    agent.wait_log(f"{request}.*done")
    wait_until(lambda: lines_of(house.receiver, request), "the receiver's words")
    check_lines(house, "restaurant_1", request, CALLER[3:35])
    record = json.loads((house.store / "restaurant_1" / f"{request}.json").read_text())
    assert record["traceparent"] == CALLER
