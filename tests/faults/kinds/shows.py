"""Long ways: a large file whose receiver and agent are killed again and again, and a link that is gone for long."""

import hashlib
import time

from engine.bench import CLIENT, Skipped
from engine.judge import Upload, judge_stored, wait_final
from harness.network import OwnNetwork
from harness.waiting import wait_until

SLACK_BYTES = 256 * 1024  # handshakes, headers
OVERHEAD = 1.01  # TLS records and chunks


def part_size(house, upload):
    """What the receiver has of it."""
    parts = [path for path in (house.store / ".incoming").glob(f"{upload.client}.{upload.id}.*") if path.suffix != ".json"]
    return max((path.stat().st_size for path in parts), default=0)


def settled_size(house, upload):
    """The same once it has stopped growing."""
    while True:
        before = part_size(house, upload)
        time.sleep(0.05)
        if part_size(house, upload) == before:
            return before


def large_file(bench, house, size, rate):
    """A file too large to be held in memory, asked for."""
    path = house.agents[CLIENT].files / "large"
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(0, size, 1 << 20):
            block = bench.rng.randbytes(1 << 20)
            digest.update(block)
            file.write(block)
    answer = house.api().request("POST", "/download", {"clientId": CLIENT, "fileName": str(path), "rate": rate})
    upload = Upload(CLIENT, answer.json()["requestId"], size, digest.hexdigest(), str(path))
    bench.uploads.append(upload)
    return upload


def killed_on_the_way(bench):
    """Receiver and agent are killed in turn. What is sent in all is the file once, and what was in flight at each kill."""
    size, rate = (1024 << 20, 60_000_000) if bench.long else (96 << 20, 20_000_000)
    with bench.house(link=lambda: None) as house:
        upload = large_file(bench, house, size, rate)
        in_flight = standing = carried = 0
        for number in bench.rounds():
            goal = size * number // (bench.runs + 1)
            wait_until(lambda at_least=goal: part_size(house, upload) >= at_least, "the upload to get on", 60, every_s=0.002)
            victim = house.receiver if number % 2 else house.agents[CLIENT]
            victim.kill()
            bench.tally.injected += 1
            now = settled_size(house, upload)
            in_flight += max(0, (house.link.carried - carried) - (now - standing))
            standing, carried = now, house.link.carried
            victim.start(wait=False)
        judge_stored(bench.tally, house, upload, wait_final(house, [upload], 120)[upload.id])
        allowed = 1.05 * size + in_flight
        bench.tally.note(f"{size >> 20} MiB, {bench.tally.injected} kills: sent {house.link.carried / size:.4f} times the size, "
                         f"{in_flight / size:.4f} of it in flight at the kills")
        if house.link.carried > allowed:
            bench.tally.count("wrong", f"sent {house.link.carried} bytes of a file of {size}; allowed are {allowed:.0f}")


def cut_link(bench):
    """Every packet between device and servers vanishes for a while. The upload is done within a minute of its return, and
    nothing is sent twice but what had not arrived."""
    reason = OwnNetwork.why_not()
    if reason:
        raise Skipped(reason)
    dark_s = 600 if bench.long else 20
    patient = {} if bench.long else {"stall_time": "10s"}
    agent = {"receiver": {"backoff_min": "1s", "backoff_max": "5m", "stall_time": "60s", **patient},
             "mqtt": {"keepalive": "30s", "backoff_min": "1s", "backoff_max": "30s"}}
    with OwnNetwork() as network, bench.house(agent=agent, link=lambda: None) as house:
        for _ in bench.rounds():
            upload = bench.ask(house, bench.rng.randbytes(4_000_000), rate=500_000)
            before = house.link.carried
            wait_until(lambda: part_size(house, upload) > 1_000_000, "the upload to get on", 30)
            network.black_hole(house.link.port)
            network.black_hole(house.devices_port)
            bench.tally.injected += 1
            time.sleep(dark_s)
            unacknowledged = house.link.carried - before - part_size(house, upload)
            network.heal()
            back = time.monotonic()
            state = wait_final(house, [upload], 120)[upload.id]
            took = time.monotonic() - back
            judge_stored(bench.tally, house, upload, state)
            sent = house.link.carried - before
            bench.tally.note(f"dark for {dark_s} s, done {took:.1f} s after; sent {sent} bytes of {upload.size}")
            if took > 60:
                bench.tally.count("wrong", f"done {took:.1f} s after the link was back")
            if sent > upload.size * OVERHEAD + max(0, unacknowledged) + SLACK_BYTES:
                bench.tally.count("wrong", f"sent {sent} bytes of {upload.size}, {unacknowledged} unacknowledged at the cut")


KINDS = {
    "show.killed on the way": (killed_on_the_way, 6, 20),
    "show.cut link": (cut_link, 1, 1),
}
