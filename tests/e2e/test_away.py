"""Clients that are away: their requests wait for them, over time and over the end of everything.

BECKON_E2E_LONG=1 has ten thousand requests wait."""

import os
import re
import time

import pytest

from harness.clock import Clock, faketime_library
from harness.proxy import Proxy
from harness.waiting import LONG, SANITIZED, wait_until

CLIENTS, REQUESTS = (100, 100) if LONG else (5, 40) if SANITIZED else (20, 50)  # so many of each
HOUR_S = 3600


# everything is killed

def pages(house, **query):
    """All rows of GET /downloads."""
    cursor = ""
    while cursor is not None:
        words = "&".join(f"{name}={value}" for name, value in {"limit": 500, **query}.items())
        answer = house.api().request("GET", f"/downloads?{words}{cursor and '&cursor='}{cursor}").json()
        yield from answer["downloads"]
        cursor = answer["nextCursor"]


def waiting(house):
    return {row["requestId"] for row in pages(house, status="queued")}


def test_requests_to_clients_that_are_away_survive_the_end_of_everything(house):
    names = [f"away_{number}" for number in range(CLIENTS)]
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    house.start_fleet(names, {"log": {"level": "info"}})
    house.stop_fleet()
    for name in names:
        house.wait_online(name, False)

    wishes = [{"clientId": name, "fileName": str(house.agents[name].file(f"file-{number}", f"{name} {number}".encode()))}
              for number in range(REQUESTS) for name in names]
    began = time.monotonic()
    answers = list(house.api().each("POST", "/download", wishes))
    took_s = time.monotonic() - began
    assert all(answer.status == 202 for answer in answers), [answer for answer in answers if answer.status != 202][:3]
    ids = {answer.json()["requestId"]: answer.json() for answer in answers}
    assert len(ids) == CLIENTS * REQUESTS

    for daemon in (house.coordinator, house.broker, house.receiver):
        daemon.kill()
    (house.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
    began = time.monotonic()
    for daemon in (house.broker, house.receiver, house.coordinator):
        daemon.start()
    up_s = time.monotonic() - began
    assert waiting(house) == set(ids), "all of them wait, and nothing else"

    back = names[:max(2, CLIENTS // 10)]
    expected = {request_id: row for request_id, row in ids.items() if row["clientId"] in back}
    began = time.monotonic()
    for name in back:
        house.agents[name].start(wait=False)
    wait_until(lambda: len(waiting(house)) == len(ids) - len(expected), "their requests to be taken", 120, every_s=0.2)
    wait_until(lambda: {row["requestId"] for row in pages(house, status="completed")} == set(expected),
               "their requests to be completed", 240, every_s=0.2)
    print(f"\n{len(ids)} requests made in {took_s:.1f} s ({len(ids) / took_s:.0f}/s); everything up again after {up_s:.1f} s; "
          f"{len(back)} clients back, their {len(expected)} requests completed after {time.monotonic() - began:.1f} s")
    for request_id, row in expected.items():
        number = row["fileName"].rpartition("-")[2]
        assert house.stored(row["clientId"], request_id).read_bytes() == f"{row['clientId']} {number}".encode()
    assert waiting(house) == set(ids) - set(expected), "the others wait on"
    assert len(house.stored_files()) == len(expected)


# more of them than it takes

def commands_published(house):
    """As the broker saw them, by upload id."""
    seen = re.findall(r"Received PUBLISH from \S+ \(.*'beckon/v1/restaurant_1/cmd/upload/([^']+)'", house.broker.log())
    return {request_id: seen.count(request_id) for request_id in seen}


def test_all_requests_of_a_client_with_a_short_queue_are_done_without_a_storm(house):
    requests, config = 60 if SANITIZED else 300, {"agent": {"concurrency": 2, "queue": 10}}
    house.start_broker("log_type debug")
    house.start_receiver()
    house.start_coordinator()
    agent = house.start_agent("restaurant_1", config)
    agent.stop()
    house.wait_online("restaurant_1", False)

    wishes = [{"clientId": "restaurant_1", "fileName": str(agent.file(f"file-{number}", f"number {number}".encode()))}
              for number in range(requests)]
    answers = list(house.api().each("POST", "/download", wishes))
    assert all(answer.status == 202 for answer in answers), [answer for answer in answers if answer.status != 202][:3]
    ids = {answer.json()["requestId"]: number for number, answer in enumerate(answers)}
    began = time.monotonic()
    agent.start()

    def all_ended():
        assert not list(pages(house, status="rejected")), "a full queue ends no request"
        return len(list(pages(house, status="completed"))) == requests
    wait_until(all_ended, "all of them to be completed", 240, every_s=0.2)
    commands = commands_published(house)
    turned_away = re.findall(r"(\S+): rejected: QUEUE_FULL", agent.log())
    print(f"\n{requests} requests completed after {time.monotonic() - began:.1f} s with {sum(commands.values())} commands, "
          f"at most {max(commands.values())} for one; {len(turned_away)} times the queue was full")
    assert turned_away, "the queue is too short for all"
    assert set(commands) == set(ids)
    assert sum(commands.values()) < 3 * requests, "no storm"
    for request_id, number in ids.items():
        assert house.stored("restaurant_1", request_id).read_bytes() == f"number {number}".encode()

    row = house.request_row(turned_away[0])
    assert row["error"] is None, row
    assert ("put off", "queued", "QUEUE_FULL") in [(line["event"], line["status"], line["reason"]) for line in row["history"]]


# time passes

@pytest.fixture
def clock(house):
    """Of all four programs."""
    if SANITIZED or not faketime_library():
        pytest.skip("needs faketime, and programs without sanitizers")
    clock = Clock(house)
    house.launch = {role: ([], clock.environment()) for role in ("broker", "receiver", "coordinator", "agent")}
    return clock


@pytest.fixture
def line(house, clock):
    """To the receiver, from an agent that the coordinator knows and that is away."""
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    line = house.closing(Proxy(house.receiver_port))
    house.start_agent("restaurant_1", {"receiver": {"url": f"https://127.0.0.1:{line.port}"}}).stop()
    house.wait_online("restaurant_1", False)
    return line


@pytest.fixture
def agent(house, line):
    return house.agents["restaurant_1"]


def ask(house, path, **more):
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), **more})
    assert answer.status == 202, answer
    return answer.json()["requestId"]


def assert_expired(house, line, request_id, observer, agent_says):
    """Coordinator and agent say the same, and not a byte has gone out."""
    status = observer.wait_for(f"beckon/v1/restaurant_1/status/{request_id}", lambda message: message["state"] == agent_says)
    assert (status["error"]["code"], status["error"]["reason"]) == ("deadline_exceeded", "EXPIRED"), status
    row = house.wait_status(request_id, "expired")
    assert (row["error"]["code"], row["error"]["reason"]) == ("deadline_exceeded", "EXPIRED"), row
    assert line.carried == 0
    assert house.stored_files() == [] and house.parts(request_id) == []


@pytest.mark.parametrize("broker", ["that remembers", "that forgets"])
def test_agent_that_was_off_for_the_first_hour_delivers(house, clock, agent, broker):
    data = os.urandom(100_000)
    request_id = ask(house, agent.file("file", data), expires=7 * 24 * HOUR_S)
    clock.set(HOUR_S)
    if broker == "that forgets":
        house.broker.kill()
        (house.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
        house.broker.start()
    assert house.request_row(request_id)["status"] == "queued"
    agent.start()
    row = house.wait_status(request_id, "completed", "failed", "rejected", "expired")
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data


def test_request_whose_time_passed_while_the_agent_was_off_is_not_begun(house, clock, agent, line):
    request_id = ask(house, agent.file("file", b"too late"), expires=HOUR_S // 2)
    observer = house.observer()
    clock.set(HOUR_S)
    house.wait_status(request_id, "expired")
    agent.start()
    assert_expired(house, line, request_id, observer, "rejected")


def test_job_whose_time_passed_while_the_agent_was_off_is_not_begun_again(house, clock, agent, line):
    """It was accepted, and then the power went."""
    house.receiver.kill()
    agent.start()
    request_id = ask(house, agent.file("file", b"too late"), expires=HOUR_S // 2)
    agent.wait_log(f"{request_id}: attempt 2 failed")
    agent.kill()
    observer = house.observer()
    clock.set(HOUR_S)
    house.receiver.start()
    house.wait_status(request_id, "expired")
    agent.start()
    assert_expired(house, line, request_id, observer, "failed")
