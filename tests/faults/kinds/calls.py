"""The n-th call fails: EIO, ENOSPC, EMFILE, EINTR, short reads and writes, and no memory."""

import time

from engine.faultline import ERRORS
from engine.judge import FINAL, state_of

from .kills import daemons_of

AT_A_TIME = 12

def failing(role, calls):
    """Each run arms one failure of one of these calls, and sends one file through everything. What must wait for its next
    attempt does so while the runs go on. On a server it is no reason to give an upload up; on a device it may be."""
    def kind(bench):
        house = bench.make_house()
        line = bench.steer(house, role)[role]
        bench.unlinks_failed = role == "receiver"
        with bench.house(house=house):
            victim = daemons_of(house)["agent" if role == "worker" else role]
            usual = {call: count for call in calls if (count := calls_of_an_upload(bench, house, line, call))}
            waiting = []
            for number in bench.rounds():
                call = sorted(usual)[number % len(usual)]
                action = bench.rng.choice(ERRORS[call])
                line.arm([call], action, bench.rng.randrange(1, usual[call] + 1), times=bench.rng.choice([1, 1, 1, 3]))
                waiting.append(bench.ask(house, bench.data(40_000)))
                wait_for_end(house, waiting[-1:])
                bench.tally.injected += line.hits
                line.disarm()
                if not victim.alive():
                    note_death(bench, victim, f"{call} {action}")
                if len(waiting) == AT_A_TIME:
                    bench.settle(house, waiting, must_complete=role in ("receiver", "coordinator"))
                    waiting = []
            bench.settle(house, waiting, must_complete=role in ("receiver", "coordinator"))
    return kind


def calls_of_an_upload(bench, house, line, call):
    line.arm([call], "EIO", 1_000_000)
    bench.settle(house, [bench.ask(house, b"x" * 20_000)])
    return line.seen


def wait_for_end(house, uploads, patience_s=0.3):
    """While the fault may strike; what is not over then must end without it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not all(state_of(house, one) in FINAL for one in uploads):
        time.sleep(0.01)


def note_death(bench, victim, why):
    """One failed call is no reason for a daemon to end."""
    bench.tally.count("wrong", f"{victim.name} ended with {victim.process.returncode} ({why}): {victim.tail(3)}")
    victim.kill()
    victim.faults.clear()
    victim.start()


FILES = ["open", "read", "pread", "write", "pwrite", "fsync", "fdatasync", "rename", "unlink", "mkdir", "truncate", "stat",
         "access", "sync_range"]
EVERYTHING = [*FILES, "socket", "accept", "pipe", "spawn", "thread"]

KINDS = {
    "call.receiver": (failing("receiver", EVERYTHING), 60, 800),
    "call.agent": (failing("agent", EVERYTHING), 40, 500),
    "call.worker": (failing("worker", EVERYTHING), 20, 200),
    "call.coordinator": (failing("coordinator", EVERYTHING), 30, 300),
    "memory.receiver": (failing("receiver", ["memory"]), 40, 400),
    "memory.agent": (failing("agent", ["memory"]), 30, 300),
    "memory.worker": (failing("worker", ["memory"]), 20, 200),
    "memory.coordinator": (failing("coordinator", ["memory"]), 30, 300),
}
