"""GET /events and `beckon watch`: what happens is told as it happens, once, in order, and again after a break."""

import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
from harness.events import EventReader
from harness.house import BIN, House
from harness.observer import Observer
from harness.process import rss_kb
from harness.waiting import SANITIZED, SLOWNESS, wait_until

STATES = ["queued", "accepted", "running", "completed"]
FLOODER, BURST, KEPT = "restaurant_2", 400, 4 * 1024 * 1024  # events of 4 KiB a burst, bytes of them that are kept


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


@pytest.fixture
def listen(house):
    """Opens readers that end with the test."""
    readers = []

    def open_one(path="/events", last_id=None, reads=True):
        readers.append(EventReader(house.api(), path, last_id, reads))
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


def test_who_has_heard_nothing_yet_misses_nothing_either(house, listen):
    quiet = listen("/events?requestId=not-asked-for-yet")
    wait_until(lambda: quiet.last_id, "the greeting")
    quiet.close()
    missed = ask(house, "missed-at-first.bin")
    house.wait_status(missed, "completed")
    listen(last_id=quiet.last_id).wait("request", requestId=missed, status="completed")


def test_who_comes_back_to_another_life_loads_anew(house, listen):
    reader = listen()
    last = reader.wait("request", requestId=ask(house)).id
    house.coordinator.restart()
    wait_until(lambda: reader.ended, "the old stream to end")
    house.wait_online("restaurant_1")
    again = listen(last_id=last)
    again.wait("reset")
    again.wait("request", requestId=ask(house), status="completed")


def test_a_quiet_stream_has_a_heartbeat(house, listen):
    house.coordinator.restart()  # the first one comes soon after the start
    reader = listen("/events?requestId=nobodys")
    wait_until(lambda: reader.beats, "a heartbeat", timeout_s=30)
    assert not reader.events and not reader.ended
    house.wait_online("restaurant_1")


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


def start_watch(house, folder, name, *words):
    """(the process, what it prints, what it complains)"""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("w") as printed, err.open("w") as complained:
        return subprocess.Popen([BIN / "beckon", "watch", *words], env=house.cli_environment(), stdout=printed, stderr=complained), out, err


def test_watch_says_that_it_has_missed_something(house, folder):
    watches = [start_watch(house, folder, "plain"), start_watch(house, folder, "json", "--json")]
    (_, lines, complaints), (_, events, none) = watches

    def all_told():
        house.wait_status(ask(house, "watched.bin", 1000), "completed")
        return "completed" in lines.read_text() and "completed" in events.read_text()
    try:
        wait_until(all_told, "both watchers to see a completed request")
        house.coordinator.restart()
        wait_until(lambda: '{"event":"reset","data":{}}' in events.read_text().splitlines(), "the reset as JSON")
        wait_until(lambda: "missed" in complaints.read_text(), "the reset as a line for people")
        assert complaints.read_text().count("\n") == 1 and "missed" not in lines.read_text()
        assert none.read_text() == ""
    finally:
        for watch, _, _ in watches:
            watch.send_signal(signal.SIGINT)
            assert watch.wait(timeout=20) == 130
    house.wait_online("restaurant_1")


def readers_now(house):
    return int(re.search(r"^beckon_events_readers (\d+)", house.api().request("GET", "/metrics").body.decode(), re.MULTILINE)[1])


def test_a_quiet_watch_outlives_a_coordinator_that_is_killed(house, folder):
    wait_until(lambda: readers_now(house) == 0, "the other tests' readers to go")
    with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        watch = subprocess.Popen([BIN / "beckon", "watch"], env=house.cli_environment(), stdout=out, stderr=err)
    try:
        wait_until(lambda: readers_now(house) == 1, "the watcher to listen")
        assert (folder / "out").read_text() == ""  # it has seen no event, and so no id to go on from
        house.coordinator.kill()
        house.coordinator.start()
        house.wait_online("restaurant_1")
        wait_until(lambda: watch.poll() is not None or readers_now(house) == 1, "the watcher to listen again")
        assert watch.poll() is None, (folder / "err").read_text()
        wait_until(lambda: "missed" in (folder / "err").read_text(), "it to say that it does not know what it has missed")
    finally:
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=20) == 130


def raw(house, head):
    """A connection on which head was sent, and what came of it so far."""
    stream = house.api().connect()
    stream.settimeout(20 * SLOWNESS)
    stream.sendall(f"{head}Authorization: Bearer {house.token}\r\n\r\n".encode())
    return stream, stream.recv(65536)


def test_head_ends_at_once_and_leaves_no_reader(house):
    before = readers_now(house)
    answer = house.api().request("HEAD", "/events")
    assert (answer.status, answer.body) == (200, b"")
    wait_until(lambda: readers_now(house) <= before, "no reader more than before")


def test_http_1_0_gets_the_stream_without_chunks(house):
    stream, data = raw(house, "GET /events HTTP/1.0\r\n")
    request = ask(house)
    while b'"completed"' not in data:
        piece = stream.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"retry: 2000\n\n") and request.encode() in body
    assert all(re.fullmatch(rb"(retry: 2000|:|id: \d+-\d+(\nevent: \w+\ndata: {.*})?|)", event) for event in body.split(b"\n\n"))
    stream.close()


@pytest.mark.parametrize("size", [8_000, 14_000, 20_000, 28_000, 31_000])
def test_a_head_that_leaves_little_room_is_served_or_refused(house, size):
    """Never taken and then cut off, which its reader would repeat for ever."""
    stream, data = raw(house, "GET /events HTTP/1.1\r\nHost: x\r\n" + "".join(
        f"X-{number}: {'x' * 990}\r\n" for number in range(size // 1000)))
    status = data.split()[1]
    assert status in (b"200", b"431"), data
    while status == b"200" and b"retry: 2000\n\n" not in data:
        piece = stream.recv(65536)
        assert piece, data
        data += piece
    stream.close()


def test_readers_that_never_read_or_half_close_do_no_harm(house, listen):
    wait_until(lambda: readers_now(house) == 0, "the other tests' readers to go")
    streams = [raw(house, "GET /events HTTP/1.1\r\nHost: x\r\n")[0] for _ in range(12)]
    reader = listen()
    for stream in streams[:6]:
        socket.socket.shutdown(stream, socket.SHUT_WR)
    for stream in streams[6:9]:
        stream.sendall(b"GET /clients HTTP/1.1\r\nHost: x\r\n\r\n" * 50)  # behind a request that never ends
    reader.wait("request", requestId=ask(house), status="completed")
    wait_until(lambda: readers_now(house) <= 7, "those that have hung up to be let go")
    for stream in streams:
        stream.close()
    wait_until(lambda: readers_now(house) == 1, "all of them to be let go")


def flood(device, reader, bursts):
    """Events that tell of labels with a number; no burst is more than is kept. Yields after each."""
    for number in range(bursts * BURST):
        labels = {"number": str(number), "filler": "x" * 4000}
        device.publish_soon(f"beckon/v1/{FLOODER}/presence", {"online": True, "labels": labels})
        if (number + 1) % BURST == 0:
            wait_until(lambda last=number: numbers(reader)[-1:] == [last], lambda: f"event {number}; the last are {numbers(reader)[-3:]}")
            yield


def numbers(reader):
    return [int(event.data["labels"]["number"]) for event in reader.of("client", id=FLOODER) if event.data["labels"]]


def bursts_until_cut_off():
    """Whoever does not read falls behind the 4 MiB that are kept once the kernel takes no more for him."""
    with open("/proc/sys/net/ipv4/tcp_wmem", encoding="ascii") as file:
        unsent = int(file.read().split()[2])
    return (KEPT + unsent) // (BURST * 4096) + 2


def test_readers_that_stop_reading_are_cut_off_and_cost_nothing(house, listen):
    wait_until(lambda: readers_now(house) == 0, "the other tests' readers to go")
    device = house.closing(Observer(house.devices_port, house.pki.ca, house.pki.client(FLOODER)))
    reader = listen()
    stalled = [listen(reads=False) for _ in range(10)]
    wait_until(lambda: readers_now(house) == 11, "all to listen")
    bursts, before_kb = bursts_until_cut_off(), rss_kb(house.coordinator.pid)
    most_kb = max(rss_kb(house.coordinator.pid) for _ in flood(device, reader, bursts))
    assert SANITIZED or most_kb - before_kb < 4 * KEPT // 1024, f"{before_kb} KB before, {most_kb} KB then"
    assert numbers(reader) == list(range(bursts * BURST)) and not reader.ended and not reader.of("reset")
    late = stalled[0]
    late.read()
    wait_until(lambda: late.ended, "its stream to be ended")
    assert numbers(late) == list(range(len(numbers(late)))) and 0 < len(numbers(late)) < bursts * BURST
    assert sum(len(json.dumps(event.data)) for event in late.events) < 1_000_000, "what the kernel holds for it is bounded"
    listen(last_id=late.events[-1].id).wait("reset")
    for one in stalled:
        one.close()
    wait_until(lambda: readers_now(house) == 2, lambda: f"those that were cut off to be let go; there are {readers_now(house)}")


def test_it_stops_at_once_while_readers_come_and_go(house):
    stop = threading.Event()

    def knock():
        while not stop.is_set():
            try:
                stream, _ = raw(house, "GET /events HTTP/1.1\r\nHost: x\r\n")
                stream.close()
            except OSError:
                pass
    knockers = [threading.Thread(target=knock) for _ in range(4)]
    for knocker in knockers:
        knocker.start()
    try:
        for _ in range(3):
            wait_until(lambda: readers_now(house) > 0, "a reader")
            house.coordinator.restart()  # what is wrong with how it ends becomes a fault of this test
    finally:
        stop.set()
        for knocker in knockers:
            knocker.join()
    house.wait_online("restaurant_1")


def test_watch_says_when_there_is_no_coordinator(house):
    environment = {**house.cli_environment(), "BECKON_COORDINATOR_URL": "https://127.0.0.1:1"}
    finished = subprocess.run([BIN / "beckon", "watch"], env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
    assert finished.returncode == 1
    assert "127.0.0.1" in finished.stderr


def test_get_waits_for_events_instead_of_asking_again_and_again(folder, pki):
    house = House(folder, pki)
    try:
        house.start(coordinator={"coordinator": {"audit_file": folder / "audit.log"}})
        path = house.agents["restaurant_1"].file("slow.bin", os.urandom(4_000_000))
        finished = house.cli("get", "--rate", "1M", "restaurant_1", path)
        assert finished.returncode == 0, finished.stderr
        assert "uploading" in finished.stderr
        lines = (folder / "audit.log").read_text().splitlines()
        looks = [line for line in lines if '"GET /download/' in line]
        assert 1 <= len(looks) <= 8, lines  # four seconds of asking again would be far more
        assert any('"GET /events"' in line for line in lines)
    finally:
        house.close()
