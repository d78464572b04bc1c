"""Two things at the same moment. Whichever wins: it is one outcome, and the same at agent, receiver and coordinator."""

import json
import threading
import time

from engine.bench import CLIENT, UNREACHABLE
from engine.judge import FINAL, state_of, stored_state
from engine.sender import Sender
from harness.house import command_payload
from harness.https import read_answer, repr_digest, send_chunk
from harness.waiting import NotYet, wait_until

BATCH = 10
MANY = {"agent": {"concurrency": 16}}


def batches(bench):
    """How many races to run side by side, until the runs are over."""
    for _ in bench.rounds():
        size = min(BATCH, bench.runs - bench.tally.runs + 1)
        bench.tally.runs += size - 1
        yield size


def agents_state(house, upload):
    try:
        return json.loads((house.agents[CLIENT].state / "jobs" / f"{upload.id}.json").read_text())["status"]["state"]
    except (FileNotFoundError, ValueError):
        return None


def judge_agreement(bench, house, uploads, patience_s=20):
    """Waits until all three have made up their minds and stay there, and compares them."""
    finals = ("done", "failed", "rejected", "cancelled")

    def at_rest():
        return all(state_of(house, one) in FINAL and agents_state(house, one) in finals for one in uploads) \
            and not any((house.store / ".outbox").iterdir())
    try:
        wait_until(at_rest, "rest", patience_s)
    except NotYet:
        pass  # told one by one below
    for upload in uploads:
        judge_one(bench, house, upload)


def judge_one(bench, house, upload):
    def view():
        return state_of(house, upload), agents_state(house, upload), stored_state(house, upload)

    def agreed():
        row, agent, stored = view()
        if row == "completed":
            return agent == "done" and stored == "whole"
        return row in FINAL and agent in ("cancelled", "failed", "rejected") and stored == "absent"
    try:
        wait_until(agreed, "agreement", 5)
        bench.tally.count("completed" if view()[0] == "completed" else "honest")
    except NotYet:
        row, agent, stored = view()
        hangs = row not in FINAL or agent not in ("done", "failed", "rejected", "cancelled")
        bench.tally.count("hung" if hangs else "wrong", f"{upload}: coordinator {row}, agent {agent}, receiver {stored}")


def later(bench, at_most_s, act):
    """act() at a random moment, in a thread of its own."""
    thread = threading.Timer(bench.rng.random() * at_most_s, act)
    thread.start()
    return thread


def cancel_and_completion(bench):
    with bench.house(agent=MANY) as house:
        for size in batches(bench):
            uploads, timers = [], []
            for _ in range(size):
                upload = bench.ask(house, bench.data(100_000))
                uploads.append(upload)
                timers.append(later(bench, 0.15, lambda one=upload: house.api().request("DELETE", f"/download/{one.id}")))
            for timer in timers:
                timer.join()
            bench.tally.injected += size
            judge_agreement(bench, house, uploads)


def expiry_and_receipt(bench):
    """Requests that are good for a second, and files that take about as long."""
    with bench.house(agent=MANY) as house:
        for size in batches(bench):
            uploads = [bench.ask(house, bench.rng.randbytes(bench.rng.randrange(40_000, 130_000)), expires=1, rate=100_000)
                       for _ in range(size)]
            bench.tally.injected += size
            judge_agreement(bench, house, uploads)


def two_workers(bench):
    """Two connections send different contents as one upload. One of them is stored, as a whole; only its sender is told so."""
    with bench.house() as house:
        sender = Sender(house)
        for size in batches(bench):
            pairs = [two_contents(bench, sender) for _ in range(size)]
            threads = [later(bench, 0.02, lambda one=upload, pauses=pauses_of(bench): send_slowly(sender, one, pauses))
                       for pair in pairs for upload in pair]
            for thread in threads:
                thread.join()
            bench.tally.injected += size
            for pair in pairs:
                judge_pair(bench, house, sender, pair)


def two_contents(bench, sender):
    """Two uploads with one id."""
    length = bench.rng.randrange(1, 120_000)
    first, second = (sender.new(bench.rng.randbytes(length)) for _ in range(2))
    second.id = first.id
    return first, second


def pauses_of(bench):
    return [bench.rng.random() * 0.004 for _ in range(16)]


def send_slowly(sender, upload, pauses):
    """With a digest or without: what is mixed up must not need one to be noticed."""
    fields = {"Upload-Length": str(upload.size), "Upload-Complete": "?1", "Trailer": "Repr-Digest"}
    trailer = f"Repr-Digest: {repr_digest(upload.data)}\r\n" if pauses[0] < 0.002 else ""
    try:
        with sender.https.begin_put(sender.place(upload), fields) as stream:
            step = max(1, upload.size // 8)
            for index, at in enumerate(range(0, upload.size, step)):
                time.sleep(pauses[index])
                send_chunk(stream, upload.data[at:at + step])
            stream.sendall(f"0\r\n{trailer}\r\n".encode())
            answer = read_answer(stream, "PUT")
    except UNREACHABLE:
        return
    if answer.status == 201:
        upload.claims.append(("PUT", upload.sha256))
    upload.spoilt = answer.status == 400


def judge_pair(bench, house, sender, pair):
    if any(getattr(upload, "spoilt", False) for upload in pair):
        bench.tally.count("wrong", f"{pair[0]}: an honest sender was told that its bytes were spoilt")
    told = [upload for upload in pair if upload.claims]
    if not told:
        sender.put(pair[1])  # each may have been cut by the other; one comes back
        told = [upload for upload in pair if upload.claims]
    states = [stored_state(house, upload) for upload in pair]
    if len(told) != 1 or stored_state(house, told[0]) != "whole":
        bench.tally.count("wrong", f"{pair[0]}: {len(told)} senders were told that theirs is complete; stored: {states}")
    else:
        bench.tally.count("completed")
        bench.uploads.append(told[0])


def repeated_commands(bench):
    """A command comes again and again while its first one is at its end. It is one upload."""
    with bench.house(agent=MANY) as house:
        observer = house.observer()
        for size in batches(bench):
            uploads = [repeat_command(bench, house, observer) for _ in range(size)]
            for upload in uploads:
                for timer in upload.timers:
                    timer.join()
            bench.tally.injected += size
            judge_agreement(bench, house, uploads)
            for upload in uploads:
                judge_once(bench, observer, upload)


def repeat_command(bench, house, observer):
    data = bench.data(60_000)
    upload = Sender(house).new(data)
    topic = f"beckon/v1/{CLIENT}/cmd/upload/{upload.id}"
    payload = command_payload(house.agents[CLIENT].file(upload.id, data))
    observer.publish(topic, payload)
    upload.timers = [later(bench, at_most_s, lambda: observer.publish(topic, payload)) for at_most_s in (0.2, 0.2, 0.2, 1, 2)]
    bench.uploads.append(upload)
    return upload


def judge_once(bench, observer, upload):
    told = [status["state"] for status in observer.on(f"beckon/v1/{CLIENT}/status/{upload.id}")]
    if "done" in told and set(told[told.index("done"):]) != {"done"}:
        bench.tally.count("wrong", f"{upload}: after its end it was begun again: {told}")
    if told.count("accepted") > 1 and told.index("running" if "running" in told else "done") < len(told) - 1 - told[::-1].index("accepted"):
        bench.tally.count("wrong", f"{upload}: accepted again after it had begun: {told}")


KINDS = {
    "race.cancel and completion": (cancel_and_completion, 30, 1000),
    "race.expiry and receipt": (expiry_and_receipt, 30, 1000),
    "race.two workers": (two_workers, 30, 1000),
    "race.repeated command": (repeated_commands, 30, 1000),
}
