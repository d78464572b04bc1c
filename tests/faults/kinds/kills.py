"""SIGKILL: at random moments during transfers, and at each call of the paths on which everything depends."""

from engine.bench import CLIENT, Skipped, run_quietly
from engine.judge import FINAL, state_of
from harness.waiting import wait_until

# What the receiver does from the last byte to the answer, and the agent from a command to "accepted" and after the end.
COMMIT_CALLS = ["open", "write", "fsync", "rename", "unlink", "mkdir", "stat", "access"]
SAVE_CALLS = ["open", "write", "fsync", "rename", "stat", "pipe", "spawn", "read"]
DATABASE_CALLS = ["open", "pwrite", "fsync", "fdatasync", "unlink", "truncate", "pread"]


def daemons_of(house):
    return {"broker": house.broker, "receiver": house.receiver, "coordinator": house.coordinator, "agent": house.agents[CLIENT]}


def at_random(role):
    """Kills one program at a random moment while a few uploads run."""
    def kind(bench):
        with bench.house() as house:
            victim = daemons_of(house)[role]
            for _ in bench.rounds():
                rate = bench.rng.choice([0, 0, 400_000])
                uploads = [bench.ask(house, bench.data(), **({"rate": rate} if rate else {})) for _ in range(3)]
                bench.sleep(0.15)
                victim.kill()
                bench.tally.injected += 1
                bench.sleep(0.05)
                victim.start(wait=False)
                bench.settle(house, uploads, must_complete=True)
    return kind


def at_call(role, calls, per_upload):
    """Kills one program before or after its n-th call of these, wherever that is."""
    def kind(bench):
        house = bench.make_house()
        line = bench.steer(house, role)[role]
        with bench.house(house=house):
            victim = daemons_of(house)[role]
            for number in bench.rounds():
                nth = 1 + number % per_upload if number <= per_upload else bench.rng.randrange(1, per_upload + 1)
                line.arm(calls, bench.rng.choice(["kill before", "kill after"]), nth)
                run = victim.runs
                uploads = [bench.ask(house, bench.data(40_000), dying=victim)]
                wait_for_death_or_end(house, victim, run, line, uploads)
                bench.tally.injected += line.hits
                line.disarm()
                bench.revive(victim, wait=False)
                bench.settle(house, uploads, must_complete=True)
    return kind


def wait_for_death_or_end(house, victim, run, line, uploads):
    """The call may come, or the uploads may end without it."""
    wait_until(lambda: line.hits or all(state_of(house, one) in FINAL for one in uploads), "a kill or the end", 30)
    if line.hits and victim.runs == run:
        wait_until(lambda: not victim.alive(), f"{victim.name} to die", 10)


# strace sees what a library in the program itself might overlook.
STRACE_POINTS = {
    "receiver": [("fsync", 9), ("renameat2", 2), ("renameat", 3), ("openat", 8), ("mkdirat", 2), ("newfstatat", 4), ("write", 4)],
    "agent": [("fsync", 8), ("renameat", 4), ("openat", 12), ("write", 6), ("pipe2", 2), ("clone,clone3,vfork", 2)],
}


def by_strace(role):
    def kind(bench):
        if run_quietly("strace", "-qq", "-o", "/dev/null", "true").returncode != 0:
            raise Skipped("needs strace, and the right to use it")
        points = [(call, nth) for call, most in STRACE_POINTS[role] for nth in range(1, most + 1)]
        bench.rng.shuffle(points)
        with bench.house() as house:
            victim = daemons_of(house)[role]
            plain = list(victim.argv)
            for number in bench.rounds():
                call, nth = points[number % len(points)]
                victim.kill()
                # as a grandchild, so that the victim's pid is the one that we know
                victim.argv = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                               "-e", f"inject={call}:signal=SIGKILL:when={nth}", *plain]
                victim.start(wait=False)
                uploads = [bench.ask(house, bench.data(40_000))]
                bench.tally.injected += died_within(victim, house, uploads)
                victim.argv = plain
                victim.kill()
                victim.start(wait=False)
                bench.settle(house, uploads, must_complete=True)
    return kind


def died_within(victim, house, uploads):
    """1 if the kill came, 0 if the uploads ended without it."""
    wait_until(lambda: not victim.alive() or all(state_of(house, one) in FINAL for one in uploads), "a kill or the end", 30)
    return 0 if victim.alive() else 1


KINDS = {
    "kill.receiver": (at_random("receiver"), 6, 60),
    "kill.agent": (at_random("agent"), 6, 60),
    "kill.coordinator": (at_random("coordinator"), 6, 60),
    "kill.broker": (at_random("broker"), 4, 40),
    "kill.receiver at a call": (at_call("receiver", COMMIT_CALLS, 34), 34, 180),
    "kill.agent at a call": (at_call("agent", SAVE_CALLS, 40), 30, 140),
    "kill.coordinator at a call": (at_call("coordinator", DATABASE_CALLS, 30), 10, 60),
    "kill.receiver by strace": (by_strace("receiver"), 8, 32),
    "kill.agent by strace": (by_strace("agent"), 8, 34),
}
