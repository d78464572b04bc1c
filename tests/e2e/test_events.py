"""GET /events and `beckon watch`: what happens is told as it happens, once, in order, and again after a break."""

import os
import signal
import subprocess

import pytest
from harness.events import EventReader
from harness.house import BIN
from harness.waiting import wait_until

STATES = ["queued", "accepted", "running", "completed"]


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


@pytest.fixture
def listen(house):
    """Opens readers that end with the test."""
    readers = []

    def open_one(path="/events", last_id=None):
        readers.append(EventReader(house.api(), path, last_id))
        return readers[-1]
    yield open_one
    for reader in readers:
        reader.close()


def ask(house, name="file.bin", size=3_000_000):
    path = house.agents["restaurant_1"].file(name, os.urandom(size))
    return house.ask("restaurant_1", path)


def statuses(reader, request):
    return [event.data["status"] for event in reader.of("request", requestId=request)]


def test_a_request_is_told_from_queued_to_completed(house, listen):
    reader = listen()
    assert reader.status == 200
    assert reader.headers["content-type"] == "text/event-stream"
    assert reader.headers["cache-control"] == "no-store"
    request = ask(house)
    done = reader.wait("request", requestId=request, status="completed")
    assert done.data == {name: value for name, value in house.request_row(request).items() if name != "history"}
    seen = statuses(reader, request)
    assert seen[0] == "queued" and seen == sorted(seen, key=STATES.index), seen
    numbers = [int(event.id.split("-")[1]) for event in reader.events]
    assert numbers == sorted(set(numbers))


def test_progress_is_told_while_it_runs(house, listen):
    reader = listen()
    path = house.agents["restaurant_1"].file("slow.bin", os.urandom(3_000_000))
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "rate": 1_000_000})
    request = answer.json()["requestId"]
    reader.wait("request", requestId=request, status="completed")
    on_the_way = [event.data["bytesReceived"] for event in reader.of("request", requestId=request, status="running")]
    assert any(0 < sent < 3_000_000 for sent in on_the_way), on_the_way


def test_devices_come_and_go(house, listen):
    reader = listen()
    agent = house.start_agent("restaurant_77")
    reader.wait("client", id="restaurant_77", online=True)
    agent.stop()
    reader.wait("client", id="restaurant_77", online=False)


def test_one_request_begins_as_it_is_and_hears_of_no_other(house, listen):
    request = ask(house)
    house.wait_status(request, "completed")
    reader = listen(f"/events?requestId={request}")
    reader.wait("request", requestId=request, status="completed")
    other = ask(house, "other.bin")
    house.wait_status(other, "completed")
    assert not reader.of("request", requestId=other)


def test_who_comes_back_misses_nothing(house, listen):
    first = listen()
    before = ask(house)
    last = first.wait("request", requestId=before, status="completed").id
    first.close()
    missed = ask(house, "missed.bin")
    house.wait_status(missed, "completed")
    again = listen(last_id=last)
    again.wait("request", requestId=missed, status="completed")
    assert not again.of("request", requestId=before)
    assert not again.of("reset")
    by_query = listen(f"/events?lastEventId={last}")
    by_query.wait("request", requestId=missed, status="completed")


def test_who_comes_back_to_another_life_loads_anew(house, listen):
    reader = listen()
    last = reader.wait("request", requestId=ask(house)).id
    house.coordinator.restart()
    wait_until(lambda: reader.ended, "the old stream to end")
    house.wait_online("restaurant_1")
    again = listen(last_id=last)
    again.wait("reset")
    again.wait("request", requestId=ask(house), status="completed")


@pytest.mark.parametrize("query", ["requestId=..", "batchId=a/b", "requestId=" + "x" * 65])
def test_an_id_that_is_none_is_refused(house, query):
    answer = house.api().request("GET", f"/events?{query}")
    assert (answer.status, answer.json()["reason"]) == (400, "INVALID_QUERY")


def test_too_many_readers_are_refused_and_room_comes_back(house, listen):
    def all_in():
        readers.append(listen())
        return readers[-1].status == 429
    readers = []
    wait_until(all_in, "the server to be full", every_s=0)
    assert 2 <= len(readers) <= 65
    for reader in readers:
        reader.close()
    wait_until(lambda: listen().status == 200, "room for a reader", timeout_s=10)


def test_without_a_token_nothing_is_told(house):
    stranger = house.api()
    stranger.bearer = "wrong"
    assert EventReader(stranger).status == 401


def test_watch_prints_a_line_for_each_change(house, folder):
    with open(folder / "out", "w") as out:
        watch = subprocess.Popen([BIN / "beckon", "watch"], env=house.cli_environment(), stdout=out)
    try:
        def told():  # a request may be over before the watcher listens: ask until one is seen
            house.wait_status(ask(house, "watched.bin", 1000), "completed")
            return "completed" in (folder / "out").read_text()
        wait_until(told, "a completed request in what watch prints")
        assert "restaurant_1" in (folder / "out").read_text()
    finally:
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=20) == 130


def test_watch_of_one_request_ends_with_it(house):
    request = ask(house)
    finished = house.cli("watch", request)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip().splitlines()[-1].split()[2] == "completed"
    refused = house.ask("restaurant_1", "/etc/shadow")
    assert house.cli("watch", refused).returncode == 3


def test_watch_goes_on_after_the_coordinator_has_restarted(house, folder):
    path = house.agents["restaurant_1"].file("long.bin", os.urandom(4_000_000))
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "fileName": str(path), "rate": 500_000})
    with open(folder / "out", "w") as out:
        watch = subprocess.Popen([BIN / "beckon", "watch", "--json", answer.json()["requestId"]], stdout=out,
                                 env=house.cli_environment())
    try:
        wait_until(lambda: '"running"' in (folder / "out").read_text(), "the watcher to see it run")
        house.coordinator.restart()
        assert watch.wait(timeout=120) == 0
        assert '"status":"completed"' in (folder / "out").read_text().splitlines()[-1]
    finally:
        watch.kill()


def test_watch_says_when_there_is_no_coordinator(house):
    environment = {**house.cli_environment(), "BECKON_COORDINATOR_URL": "https://127.0.0.1:1"}
    finished = subprocess.run([BIN / "beckon", "watch"], env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
    assert finished.returncode == 1
    assert "127.0.0.1" in finished.stderr
