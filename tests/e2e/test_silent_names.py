"""The name server does not answer. An agent's loop goes on all the same: its watchdog is fed, its uploads run, it hears and is
heard, and it ends when it is told to."""

import os
import socket
import threading
import time

import pytest

from harness.network import OwnNames
from harness.process import is_running
from harness.proxy import Proxy
from harness.waiting import SLOWNESS, wait_until

STOPS_WITHIN_S = 8  # mqtt_link.h: 2 s for the thread; and the rest of the good-bye. The resolver would hold it for 150 s
GIVES_UP_WITHIN_S = 30 + 5  # http_put.c: its time to connect; the resolver itself would take 150 s
WATCHDOG_S = 1  # the service manager's; the agent feeds it twice as often
SILENT_S = 3  # at most: that disks are busy too is no fault; a loop that waits for a name is silent for far longer
RATE = 100_000


class Manager:
    """The end of sd_notify at which the service manager listens."""

    def __init__(self, path):
        self.fed = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(WATCHDOG_S * 1_000_000)}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while (message := self._socket.recv(4096)) != b"":
            if b"WATCHDOG=1" in message:
                self.fed.append(time.monotonic())

    def wait_fed(self, times):
        """Until it was, so many times more."""
        goal = len(self.fed) + times
        wait_until(lambda: len(self.fed) >= goal, f"the watchdog to be fed {times} times")

    def longest_silence(self, since):
        moments = [since, *(at for at in self.fed if at > since), time.monotonic()]
        return max(after - before for before, after in zip(moments, moments[1:]))

    def close(self):
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"", self._socket.getsockname())


@pytest.fixture
def names(house):
    reason = OwnNames.why_not()
    if reason:
        pytest.skip(reason)
    return house.closing(OwnNames(house.folder))


@pytest.fixture
def manager(house):
    return house.closing(Manager(house.folder / "manager"))


@pytest.fixture
def start_agent(house, names, manager):
    """Everything, with an agent that knows broker and receiver by name; its line to the broker is house.line."""
    house.start_broker()
    house.start_receiver()
    house.start_coordinator()
    house.line = house.closing(Proxy(house.devices_port))
    house.launch["agent"] = (names.prefix, manager.environment)

    def start(wait=True):
        return house.start_agent("restaurant_1", {
            "agent": {"heartbeat": "1s"},
            "mqtt": {"host": "localhost", "port": house.line.port},
            "receiver": {"url": f"https://receiver.test:{house.receiver_port}"}}, wait)
    return start


def assert_stops(agent):
    """Without a word from the network, and with all that it has started; that it ends well is looked at by the house."""
    began = time.monotonic()
    agent.stop()
    took = time.monotonic() - began
    print(f"\nended {took:.2f} s after SIGTERM")
    assert took < STOPS_WITHIN_S * SLOWNESS


def test_agent_that_never_finds_its_broker_lives_and_ends(names, manager, start_agent):
    agent = start_agent(wait=False)
    wait_until(lambda: names.asked("localhost"), "the agent to ask for its broker")
    manager.wait_fed(5)
    assert_stops(agent)


def test_upload_goes_on_while_the_broker_is_looked_for(house, names, manager, start_agent):
    names.know("localhost", "receiver.test")
    agent = start_agent()
    data = os.urandom(8 * RATE)
    answer = house.api().request("POST", "/download", {"clientId": "restaurant_1", "rate": RATE,
                                                       "fileName": str(agent.file("file", data))})
    request_id = answer.json()["requestId"]
    house.wait_bytes(request_id)
    workers = agent.workers()
    names.know()
    house.line.cut()
    wait_until(lambda: names.asked("localhost"), "the agent to look for its broker")
    dark = time.monotonic()
    assert agent.workers() == workers
    row = house.wait_status(request_id, "completed")
    assert house.stored("restaurant_1", request_id).read_bytes() == data
    agent.wait_log(f"{request_id}: done")
    assert len(agent.log_lines(f"{request_id}: sending")) == 1, row
    assert manager.longest_silence(dark) < SILENT_S * SLOWNESS
    assert_stops(agent)


def test_agent_is_heard_while_its_worker_looks_for_the_receiver(house, names, manager, start_agent):
    names.know("localhost")
    agent = start_agent()
    observer = house.observer(subscribe=("beckon/v1/+/status/+", "beckon/v1/+/presence"))
    request_id = house.ask("restaurant_1", agent.file("file", b"data"))
    wait_until(lambda: names.asked("receiver.test"), "the worker to look for the receiver")
    dark = time.monotonic()
    heartbeats = len(observer.on("beckon/v1/restaurant_1/presence"))
    wait_until(lambda: len(observer.on("beckon/v1/restaurant_1/presence")) >= heartbeats + 3, "three more heartbeats")
    assert agent.workers() and agent.log_lines(f"{request_id}: attempt") == [], "it still looks"
    first = set(agent.workers())
    assert house.cli("cancel", request_id).returncode == 0
    second = wait_until(lambda: set(agent.workers()) - first, "a worker to tell the receiver of the cancel")
    wait_until(lambda: not any(is_running(pid) for pid in second), "it to give up, though the name server is silent",
               GIVES_UP_WITHIN_S)
    print(f"\nthe cancel's worker gave up {time.monotonic() - dark:.1f} s after the first question")
    assert manager.longest_silence(dark) < SILENT_S * SLOWNESS
    names.know("localhost", "receiver.test")
    house.wait_status(request_id, "cancelled")
    names.know("localhost")
    house.ask("restaurant_1", agent.file("another", b"data"))
    wait_until(lambda: names.asked("receiver.test"), "the next worker to look for it")
    assert_stops(agent)
