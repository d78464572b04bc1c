"""Clocks that jump: a device without a battery starts in 1970, and gets the time from the network in mid upload."""

from engine.bench import CLIENT, Skipped, add_environment
from harness.clock import YEAR_S, Clock, faketime_library
from harness.waiting import SANITIZED

from .kills import daemons_of

JUMPS_S = [-YEAR_S, -86400 * 2, -3600, -61, -5, 5, 61, 3600, 86400 * 2, 86400 * 8, YEAR_S * 30]


def jumping(role):
    """The program's clock jumps during uploads, and is set right after a while."""
    def kind(bench):
        if SANITIZED or not faketime_library():
            raise Skipped("needs faketime, and programs without sanitizers")
        house = bench.make_house()
        clock = Clock(house)
        add_environment(house, role, clock.environment())
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
                bench.settle(house, uploads, 60, must_complete=role == "receiver")  # the others' clocks tell when a request is over
            assert house.agents[CLIENT].alive()
    return kind


KINDS = {f"clock.{role}": (jumping(role), 4, 25) for role in ("agent", "receiver", "coordinator")}
