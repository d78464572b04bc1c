"""A receiver that stands in the open: who takes up room gets little of it, and honest uploads go on."""

import os
import socket
import threading
import time

import pytest

from harness.https import read_answer, repr_digest, send_chunk
from harness.process import cpu_seconds
from harness.rawhttp import RawAnswer, receive
from harness.waiting import SANITIZED, SLOWNESS, wait_until

SLOW = 100 if SANITIZED else 500
MAX_SIZE = 64 * 1024 * 1024


@pytest.fixture
def receiver(house, pki):
    """start(limits): a receiver with them, and a broker."""
    def start(**limits):
        house.start_broker()
        house.start_receiver({"limits": {"max_size": str(MAX_SIZE), **limits}})
        return house
    return start


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: receiver", *lines, "", ""]).encode()


# connections


def test_one_client_has_so_many_connections_and_another_its_own(receiver, pki):
    house = receiver(connections_per_client="3")
    greedy, modest = house.https(pki.client("greedy")), house.https(pki.client("modest"))
    open_ones = [greedy.begin_put(f"/v1/uploads/{number}") for number in range(3)]
    for number, stream in enumerate(open_ones):
        send_chunk(stream, b"x")
        house.wait_bytes(str(number))
    answer = greedy.request("PUT", "/v1/uploads/more", b"data")
    assert answer.status == 429 and answer["Retry-After"] and answer.json()["reason"] == "TOO_MANY_CONNECTIONS", answer
    assert modest.request("PUT", "/v1/uploads/more", b"data").status == 201
    open_ones[0].close()
    wait_until(lambda: greedy.request("PUT", "/v1/uploads/more", b"data").status == 201, "the place to be free again")


def test_total_and_per_address_limits_close_what_is_too_much(receiver, pki):
    house = receiver(connections_per_address="5")
    device = house.https(pki.client("device"))
    streams = [device.connect() for _ in range(5)]
    with pytest.raises(OSError):
        device.connect()
    for stream in streams:
        stream.close()
    wait_until(lambda: tries(device), "room again")


def test_who_fills_the_coordinator_from_one_address_shuts_out_nobody_else(house):
    house.start(agents=())
    api = house.api()

    def hold(address):
        stream = api.connect(address)
        stream.sendall(head("GET", "/health"))  # no token is needed
        assert read_answer(stream, "GET").status == 200
        return stream
    streams = []
    with pytest.raises(OSError):
        while len(streams) < 256:
            streams.append(hold("127.0.0.1"))
    assert 100 < len(streams) <= 128
    for _ in range(60):
        with pytest.raises(OSError):
            api.connect()
    hold("127.0.0.2").close()
    assert 1 <= len(house.coordinator.log_lines("warn .*connection limit")) <= 40, "strangers can write the log full"
    for stream in streams:
        stream.close()
    wait_until(lambda: tries(api), "room again")


def tries(client):
    try:
        return client.request("GET", "/health").status == 200
    except OSError:
        return False


def test_slow_head_is_cut_behind_an_earlier_request_too(receiver, pki):
    house = receiver(idle_timeout="2s")
    device = house.https(pki.client("device"))
    with device.connect() as stream:
        stream.sendall(head("HEAD", "/v1/uploads/none"))
        assert read_answer(stream, "HEAD").status == 404
        began = time.monotonic()
        assert trickle_until_cut(stream, head("HEAD", "/v1/uploads/none", "X: " + "y" * 20000))
        assert time.monotonic() - began < 10 * SLOWNESS


def trickle_until_cut(stream, data):
    """A byte every 100 ms; True when the other side ends it before all is sent."""
    stream.settimeout(0.1)
    for byte in data:
        try:
            stream.sendall(bytes([byte]))
            if stream.recv(1) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


# bodies that nobody wants


REFUSED = {
    "no certificate": (None, "PUT", (), 401), "too large by length": ("device", "PUT", (f"Upload-Length: {4 * 2**30}", "Upload-Complete: ?0"), 413),
    "wrong offset": ("device", "PATCH", ("Content-Type: application/partial-upload", "Upload-Offset: 7"), 404),
    "reserved name": ("operator", "PUT", (), 403), "not a device's path": ("device", "PUT", (), 404),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("expect", [True, False])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_refused_body_is_not_read(receiver, pki, why, expect, framing):
    house = receiver()
    name, method, lines, status = REFUSED[why]
    identity = pki.service(name) if name == "operator" else pki.client(name) if name else None
    path = "/v1/nothing/x" if why == "not a device's path" else "/v1/uploads/x"
    huge = 3 * 2**30
    size = ["Transfer-Encoding: chunked"] if framing == "chunked" else [f"Content-Length: {huge}"]
    with house.https(identity).connect() as stream:
        stream.sendall(head(method, path, *size, *lines, *(["Expect: 100-continue"] if expect else [])))
        if expect:
            answer = receive(stream, 20)
            assert answer.status in (status, 413) and answer.closes() and b"100 Continue" not in answer.data, answer
            return
        sent, answer = pour(stream, huge, framing)
    assert answer.status in (status, 413), answer
    assert sent < 64 * 2**20, f"{sent} bytes were taken before the answer"
    assert cpu_seconds(house.receiver.pid) < 10


def pour(stream, size, framing):
    """Sends as a client does that looks for an answer now and then. Returns what it got rid of, and the answer."""
    block = os.urandom(65536)
    sent = 0
    stream.settimeout(20 * SLOWNESS)
    try:
        while sent < size:
            stream.sendall(b"10000\r\n" + block + b"\r\n" if framing == "chunked" else block)
            sent += len(block)
            stream.setblocking(False)
            try:
                data = stream.recv(65536)
                stream.settimeout(5)
                return sent, RawAnswer(data + receive(stream, 5).data, True)
            except (BlockingIOError, OSError) as error:
                if "want read" not in str(error).lower() and "did not complete" not in str(error).lower() and not isinstance(error, BlockingIOError):
                    raise
            stream.settimeout(20 * SLOWNESS)
    except OSError:
        pass
    return sent, receive(stream, 5)


def test_body_that_grows_past_the_limit_is_cut(receiver, pki):
    house = receiver(max_size="1M")
    with house.https(pki.client("device")).connect() as stream:
        stream.sendall(head("PUT", "/v1/uploads/x", "Transfer-Encoding: chunked"))
        sent, answer = pour(stream, 2**30, "chunked")
    assert answer.status in (413, "closed") and sent < 200 * 2**20, (sent, answer)
    assert house.stored("device", "x") is None and not house.parts("x")


# many slow ones


class Crowd:
    """Connections that do as little as they may: a third stays in the handshake, one sends heads, one bodies, a byte a time."""

    def __init__(self, client, port, count):
        self.raw, self.heads, self.bodies = [], [], []
        for number in range(count):
            if number % 3 == 0:
                raw = socket.create_connection(("127.0.0.1", port), 60)
                raw.sendall(b"\x16\x03\x01\x02\x00\x01")
                self.raw.append(raw)
                continue
            stream = client.connect()
            if number % 3 == 1:
                stream.sendall(b"PUT /v1/upl")
                self.heads.append(stream)
            else:
                stream.sendall(head("PUT", f"/v1/uploads/slow-{number}", "Transfer-Encoding: chunked") + b"100000\r\n")
                self.bodies.append(stream)
        self.stopping = False
        self.thread = threading.Thread(target=self._trickle, daemon=True)
        self.thread.start()

    def _trickle(self):
        while not self.stopping:
            for stream in self.heads + self.bodies:
                try:
                    stream.send(b"x")
                except OSError:
                    pass
            time.sleep(0.5)

    def all(self):
        return self.raw + self.heads + self.bodies

    def stop(self):
        self.stopping = True
        self.thread.join()

    def close(self):
        self.stop()
        for stream in self.all():
            stream.close()


def is_cut(stream):
    stream.settimeout(0.01)
    try:
        return stream.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_many_slow_connections_are_cut_and_honest_uploads_go_on_meanwhile(receiver, pki, house):
    house = receiver(connections=str(SLOW + 100), connections_per_client="0", open_uploads=str(SLOW), uploads_per_client=str(SLOW), idle_timeout="8s", upload_deadline=f"{12 * SLOWNESS}s")
    honest = house.https(pki.client("honest"))
    crowd = house.closing(Crowd(house.https(pki.client("slow")), house.receiver_port, SLOW))
    data = os.urandom(20 * 2**20)
    answer = honest.put_chunked("/v1/uploads/during", data, trailers={"Repr-Digest": repr_digest(data)})
    assert answer.status == 201, answer
    wait_until(lambda: all(is_cut(stream) for stream in crowd.raw), "those in the handshake to be cut", 60)
    crowd.stop()
    wait_until(lambda: all(is_cut(stream) for stream in crowd.heads + crowd.bodies), "slow heads and bodies to be cut", 60)
    assert honest.request("PUT", "/v1/uploads/after", b"data").status == 201
    assert not [path for path in house.stored_files() if "slow" in str(path)]
