"""Large files, and what memory they cost. What 32 bits can't count and the memory limits are for the plain build only: a
sanitizer's shadow memory is its own. BECKON_E2E_LONG=1 takes 5 GiB."""

import os
import subprocess
import threading

import pytest

from harness.process import rss_kb
from harness.waiting import LONG, SANITIZED

WORKER_KB, AGENT_KB, RECEIVER_KB = 16 * 1024, 8.5 * 1024, 64 * 1024
MIB = 1 << 20
SPARSE = 5 * 1024 * MIB if LONG else 64 * MIB if SANITIZED else 4 * 1024 * MIB + 3


@pytest.fixture(scope="module")
def house(shared_house):
    return shared_house.start()


class Sampler:
    """The largest resident size of agent, its workers and the receiver, looked at every 20 ms."""

    def __init__(self, house):
        self.agent, self.receiver = house.agents["restaurant_1"], house.receiver
        self.peak = {"agent": 0, "worker": 0, "receiver": 0}
        self.samples = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(0.02):
            workers = self.agent.workers()
            self.samples += bool(workers)
            for name, pids in (("agent", [self.agent.pid]), ("worker", workers), ("receiver", [self.receiver.pid])):
                self.peak[name] = max([self.peak[name], *map(rss_kb, pids)])


def into_file(house, path):
    out = house.folder / "out"
    result = house.cli("get", "restaurant_1", path, "-o", out, timeout_s=480)
    assert result.returncode == 0, result.stderr
    assert subprocess.run(["cmp", path, out], check=False).returncode == 0
    out.unlink()


def into_pipe(house, path):
    """The disk's other users have something of it, too."""
    process = house.cli_start("get", "restaurant_1", path, "-o", "-")
    assert subprocess.run(["cmp", path, "-"], stdin=process.stdout, check=False, timeout=480).returncode == 0
    assert process.wait(60) == 0, process.stderr.read()


def get(house, path, fetch):
    with Sampler(house) as sampler:
        fetch(house, path)
    assert house.stored_files()[0].stat().st_size == path.stat().st_size
    assert sampler.samples > 0, "no worker was seen"
    print("peak RSS in KB:", sampler.peak)
    if not SANITIZED:
        assert sampler.peak["worker"] < WORKER_KB, sampler.peak
        assert sampler.peak["agent"] < AGENT_KB, sampler.peak
        assert sampler.peak["receiver"] < RECEIVER_KB, sampler.peak
    house.stored_files()[0].unlink()  # the disk is the developer's


def test_100_mb_arrive_whole(house):
    size = (10 if SANITIZED else 100) * MIB
    path = house.agents["restaurant_1"].file("random.bin", os.urandom(size))
    get(house, path, into_file)


def test_sparse_file_beyond_32_bits_arrives_whole_in_little_memory(house):
    path = house.agents["restaurant_1"].files / "sparse.bin"
    with open(path, "wb") as file:
        file.write(b"begin")
        file.seek(SPARSE // 2)
        file.write(b"middle")
        file.seek(SPARSE - 3)
        file.write(b"end")
    get(house, path, into_file if LONG else into_pipe)
