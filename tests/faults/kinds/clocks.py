"""Clocks that jump: a device without a battery starts in 1970, and gets the time from the network in mid upload."""

from pathlib import Path

from engine.bench import CLIENT, Skipped, add_environment

from .kills import daemons_of

LIBRARIES = ["/usr/lib/{}/faketime/libfaketimeMT.so.1".format(machine) for machine in
             ("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf")]
JUMPS_S = [-86400 * 365, -86400 * 2, -3600, -61, -5, 5, 61, 3600, 86400 * 2, 86400 * 8, 86400 * 365 * 30]


class Clock:
    """The wall clock of one program; its monotonic one goes on as ever."""

    def __init__(self, path):
        self.path = path
        self.set(0)

    def set(self, offset_s):
        new = self.path.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.rename(self.path)

    def environment(self, library):
        return {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.path), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def jumping(role):
    """The program's clock jumps during uploads, and is set right after a while."""
    def kind(bench):
        library = next((path for path in LIBRARIES if Path(path).exists()), None)
        if not library:
            raise Skipped("needs faketime")
        house = bench.make_house()
        clock = Clock(house.folder / "clock")
        add_environment(house, role, clock.environment(library))
        with bench.house(house=house):
            victim = daemons_of(house)[role]
            for _ in bench.rounds():
                uploads = [bench.ask(house, bench.data(), rate=bench.rng.choice([200_000, 10**9])) for _ in range(2)]
                bench.sleep(0.2)
                clock.set(bench.rng.choice(JUMPS_S))
                bench.tally.injected += 1
                if bench.rng.random() < 0.3:
                    victim.kill()
                    victim.start(wait=False)
                bench.sleep(0.5)
                clock.set(0)
                if not victim.alive():
                    victim.start(wait=False)
                bench.settle(house, uploads, 60)
            assert house.agents[CLIENT].alive()
    return kind


KINDS = {f"clock.{role}": (jumping(role), 4, 25) for role in ("agent", "receiver", "coordinator")}
