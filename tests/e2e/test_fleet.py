"""A fleet of agents, and a receiver that goes away, comes back, or has no time: they do not come in step.

BECKON_E2E_LONG=1 runs it with a thousand agents, in about six minutes."""

import math
import ssl
import statistics
import threading
import time
from collections import Counter
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from harness.proxy import Proxy
from harness.waiting import LONG, wait_until

AGENTS = 1000 if LONG else 50  # with far fewer, chance alone brings some in step
WINDOW_S = 60 if LONG else 8  # the widest back-off
TRIES_TO_WIDEST = math.ceil(math.log2(WINDOW_S)) + 1
RETRY_AFTER_S = 20 if LONG else 4
LATE_S = 5
CONNECTIONS = 2  # of an attempt that finds somebody at home: HEAD, then PUT


class Door(Proxy):
    """Before the receiver: notes when somebody comes, also while nobody is at home."""

    def __init__(self, target_port):
        self.arrivals = []
        super().__init__(target_port)

    def make_connection(self, client):
        self.arrivals.append(time.monotonic())
        return super().make_connection(client)

    def since(self, start):
        return [at - start for at in list(self.arrivals) if at >= start]


class Busy(ThreadingTCPServer):
    """A receiver that answers everything with 503 and Retry-After."""

    daemon_threads = True
    request_queue_size = 1000

    def __init__(self, identity):
        self.arrivals = {}  # path: when it was asked for
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*map(str, identity))
        super().__init__(("127.0.0.1", 0), Refusal)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # an agent that is stopped in mid handshake

    def close(self):
        self.shutdown()
        self.server_close()


class Refusal(StreamRequestHandler):
    def handle(self):
        with self.server.tls.wrap_socket(self.request, server_side=True) as stream:
            head = b""
            while b"\r\n\r\n" not in head:
                more = stream.recv(4096)
                if not more:
                    return
                head += more
            self.server.arrivals.setdefault(head.split()[1].decode(), []).append(time.monotonic())
            stream.sendall(f"HTTP/1.1 503 Busy\r\nRetry-After: {RETRY_AFTER_S}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                           .encode())


@pytest.fixture(scope="module")
def house(shared_house):
    house = shared_house
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    house.door = house.closing(Door(house.receiver_port))
    house.busy = house.closing(Busy(house.pki.server("receiver.test")))
    house.names = [f"fleet_{number}" for number in range(AGENTS)]
    house.start_fleet(house.names, {
        "mqtt": {"keepalive": "60s", "backoff_max": f"{WINDOW_S}s" if LONG else "1s"},
        "receiver": {"url": f"https://127.0.0.1:{house.door.port}", "backoff_min": "1s", "backoff_max": f"{WINDOW_S}s"},
        "receivers": {"busy": f"https://127.0.0.1:{house.busy.port}"},
        "log": {"level": "info"},
    })
    yield house
    house.stop_fleet()


def ask_all(house, **more):
    """A file of each; {name: id}."""
    wishes = [{"clientId": name, "fileName": str(house.agents[name].file("file", name.encode())), **more} for name in house.names]
    answers = list(house.api().each("POST", "/download", wishes))
    assert all(answer.status == 202 for answer in answers), [answer for answer in answers if answer.status != 202][:3]
    return {answer.json()["clientId"]: answer.json()["requestId"] for answer in answers}


def middle_half(values):
    """How far the first and the last quarter are apart."""
    first, _, last = statistics.quantiles(values, n=4)
    return last - first


def busiest_second(arrivals):
    return max(Counter(int(at) for at in arrivals).values())


def test_receiver_that_comes_back_is_not_stormed(house):
    """Waits are uniform in the window, so there are 2/WINDOW_S of them a second and device, and fewer once it is back."""
    expected = 2 * AGENTS / WINDOW_S
    allowed = expected + 6 * math.sqrt(expected) + 3
    house.receiver.kill()
    ids = ask_all(house)
    widest = f"attempt {TRIES_TO_WIDEST} failed"
    for name in house.names:
        house.agents[name].wait_log(widest, timeout_s=10 * WINDOW_S)
    steady = time.monotonic()
    wait_until(lambda: time.monotonic() > steady + WINDOW_S / 2, "a while in which nobody is at home", WINDOW_S)
    away = house.door.since(steady)
    house.receiver.start()
    back = time.monotonic()
    for name, request_id in ids.items():
        house.wait_status(request_id, "completed", timeout_s=WINDOW_S + LATE_S)
        assert house.stored(name, request_id).read_bytes() == name.encode()
    arrivals = house.door.since(back)
    busiest = busiest_second(arrivals) / CONNECTIONS
    print(f"\n{AGENTS} agents, back-off up to {WINDOW_S} s: {expected:.1f} attempts a second are to be expected; "
          f"{len(away) / (WINDOW_S / 2):.1f} while the receiver was away, {busiest_second(away)} in the busiest second; "
          f"{busiest:.0f} in the busiest second after its return, the last after {max(arrivals):.1f} s")
    assert busiest_second(away) <= allowed, Counter(int(at) for at in away)
    assert busiest <= allowed, Counter(int(at) for at in arrivals)
    assert middle_half(arrivals) > WINDOW_S / 8, sorted(arrivals)
    assert max(arrivals) < WINDOW_S + LATE_S, "each tries once more within the window"
    assert len(arrivals) <= CONNECTIONS * AGENTS * 1.1, "and once is enough"


def test_retry_after_is_honoured_and_not_by_all_in_the_same_second(house):
    """They do not come earlier, not even when their broker has been away, nor all when the time is just over."""
    ids = ask_all(house, receiver="busy")
    paths = [f"/v1/uploads/{request_id}" for request_id in ids.values()]
    wait_until(lambda: all(house.busy.arrivals.get(path) for path in paths), "everybody's first attempt", RETRY_AFTER_S + LATE_S)
    house.broker.kill()
    house.broker.start()
    wait_until(lambda: all(len(house.busy.arrivals[path]) > 1 for path in paths), "everybody's second attempt",
               2 * RETRY_AFTER_S + LATE_S)
    gaps = [house.busy.arrivals[path][1] - house.busy.arrivals[path][0] for path in paths]
    print(f"\n{AGENTS} agents, Retry-After {RETRY_AFTER_S}: second attempts after {min(gaps):.1f} to {max(gaps):.1f} s, "
          f"{busiest_second(gaps)} in the busiest second")
    assert min(gaps) >= RETRY_AFTER_S - 0.1, sorted(gaps)
    assert max(gaps) <= 2 * RETRY_AFTER_S + LATE_S, sorted(gaps)
    assert middle_half(gaps) > RETRY_AFTER_S / 8, sorted(gaps)
