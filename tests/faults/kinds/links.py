"""Bad links: resets at any byte, black holes, lost packets; and clients that lie about where they are."""

from engine.bench import Skipped
from engine.judge import FINAL, state_of
from engine.sender import Sender, judge_promises
from harness.https import repr_digest, send_chunk
from harness.network import OwnNetwork, run
from harness.waiting import wait_until


def resets(bench):
    """Every connection of an upload is reset after a random number of bytes, until one is not."""
    state = {"left": 0}

    def next_reset():
        if state["left"] <= 0:
            return None
        state["left"] -= 1
        return bench.rng.choice([bench.rng.randrange(1, 3000), bench.rng.randrange(1, 400_000), bench.rng.randrange(1, 400_000)])
    with bench.house(link=next_reset) as house:
        for _ in bench.rounds():
            state["left"] = bench.rng.randrange(2, 7)
            before = house.link.resets
            bench.settle(house, [bench.ask(house, bench.rng.randbytes(bench.rng.randrange(500_000)))],
                         must_complete=True)
            bench.tally.injected += house.link.resets - before
            state["left"] = 0


def black_holes(bench):
    """The link swallows everything for a while, in the middle of uploads."""
    with bench.house(link=lambda: None) as house:
        for _ in bench.rounds():
            uploads = [bench.ask(house, bench.rng.randbytes(300_000), rate=500_000) for _ in range(2)]
            bench.sleep(0.5)
            house.link.black_out()
            bench.tally.injected += 1
            bench.sleep(0.5)
            house.link.light_up()
            bench.settle(house, uploads, 60, must_complete=True)


def lost_packets(bench):
    """Of all packets on the loopback, 1 to 30 in a hundred vanish."""
    reason = OwnNetwork.why_not()
    if reason:
        raise Skipped(reason)
    with OwnNetwork() as network, bench.house() as house:
        for number in bench.rounds():
            percent = [1, 3, 10, 20, 30][number % 5]
            ports = f"{{ {house.receiver_port}, {house.devices_port} }}"
            lose = f"numgen random mod 100 < {percent} drop"
            run("nft", f"add rule inet hole in tcp dport {ports} {lose}; add rule inet hole in tcp sport {ports} {lose}")
            uploads = [bench.ask(house, bench.data(60_000)) for _ in range(2)]
            bench.tally.injected += 1
            wait_until(lambda some=uploads: all(state_of(house, one) in FINAL for one in some), "the end", 120)
            network.heal()
            bench.settle(house, uploads, must_complete=True)


def lying_offsets(bench):
    """A client says that it goes on where the receiver is not. It is told the truth, and nothing is mixed up."""
    with bench.house() as house:
        for _ in bench.rounds():
            sender = Sender(house)
            upload = sender.new(bench.rng.randbytes(bench.rng.randrange(2_000, 200_000)))
            break_off(sender, upload, bench.rng.randrange(1, upload.size))
            offset = offset_of(sender, upload)
            lie = bench.rng.choice([max(0, offset - 1000), offset + 1, upload.size - 1, upload.size, 0])
            if lie != offset:
                bench.tally.injected += 1
                answer = sender.patch_without_digest(upload, lie)
                if answer is not None and answer.status in (200, 201, 204):
                    bench.tally.count("wrong", f"{upload}: stands at {offset}, and took a PATCH from {lie}: {answer}")
                elif answer is not None and answer["Upload-Offset"] != str(offset):
                    bench.tally.count("wrong", f"{upload}: stands at {offset}, and a PATCH from {lie} was told {answer}")
            answer = sender.finish(upload)
            if answer is None or answer.status not in (200, 201):
                bench.tally.count("wrong", f"{upload} can't be finished after a lie: {answer}")
            judge_promises(bench.tally, house, upload)
            bench.uploads.append(upload)


def break_off(sender, upload, size):
    """Sends size bytes of it and vanishes."""
    with sender.https.begin_put(sender.place(upload), {"Upload-Length": str(upload.size), "Upload-Complete": "?1"}) as stream:
        for at in range(0, size, 16384):
            send_chunk(stream, upload.data[at:min(at + 16384, size)])


def offset_of(sender, upload):
    """Once the receiver has noticed that the connection is gone."""
    last = [-1]

    def settled():
        head = sender.head(upload)
        before, last[0] = last[0], int(head["Upload-Offset"] or 0) if head.status == 204 else 0
        return head if before == last[0] else None
    wait_until(settled, "the offset to stand still", 10, every_s=0.05)
    return last[0]


def unclean_ends(bench):
    """All the bytes arrive, and then no end: the last chunk and the digest are missing, or the digest is another's. That is
    not complete."""
    with bench.house() as house:
        for number in bench.rounds():
            sender = Sender(house)
            upload = sender.new(bench.rng.randbytes(bench.rng.randrange(1, 100_000)))
            spoilt = bytearray(upload.data)
            if number % 2:
                spoilt[bench.rng.randrange(upload.size)] ^= 1
            with sender.https.begin_put(sender.place(upload), {"Upload-Length": str(upload.size), "Upload-Complete": "?1",
                                                               "Trailer": "Repr-Digest"}) as stream:
                send_chunk(stream, bytes(spoilt))
                if bench.rng.random() < 0.3:
                    stream.sendall(f"0\r\nRepr-Digest: {repr_digest(upload.data)[:20]}".encode())
            bench.tally.injected += 1
            offset_of(sender, upload)
            if sender.head(upload)["Upload-Complete"] == "?1":
                bench.tally.count("wrong", f"{upload}: its body never ended, and it is said to be complete")
            answer = sender.finish(upload)
            if number % 2 and answer is not None and answer.status == 400:
                answer = sender.finish(upload)  # what was spoilt on the way is set aside, and sent once more
            if answer is None or answer.status not in (200, 201):
                bench.tally.count("wrong", f"{upload} can't be finished: {answer}")
            judge_promises(bench.tally, house, upload)
            bench.uploads.append(upload)


KINDS = {
    "link.resets": (resets, 10, 400),
    "link.black hole": (black_holes, 2, 12),
    "link.lost packets": (lost_packets, 3, 20),
    "link.lying offsets": (lying_offsets, 20, 150),
    "link.unclean ends": (unclean_ends, 20, 150),
}
