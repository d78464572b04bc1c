"""The file changes under the upload's hands."""

import os

from engine.bench import CLIENT
from engine.judge import FINAL, Upload, state_of, stored_state, wait_final
from harness.waiting import wait_until


def change(name):
    """While it is being sent, and its link is cut so that it must go on later, the file is changed. What arrives is what the
    file was at one time, never a mixture; or the upload fails and says why."""
    def kind(bench):
        with bench.house(link=lambda: None) as house:
            for _ in bench.rounds():
                data = bench.rng.randbytes(bench.rng.randrange(60_000, 400_000))
                upload = bench.ask(house, data, rate=bench.rng.choice([600_000, 1_500_000]))
                wait_until(lambda: house.parts(upload.id) or state_of(house, upload) in FINAL, "its first bytes to arrive")
                if name != "cut" or bench.rng.random() < 0.5:
                    house.link.cut()  # else it becomes shorter while it is read
                new = CHANGES[name](bench, upload, data)
                bench.tally.injected += 1
                judge_changed(bench, house, name, upload, new)
    return kind


def rewritten_in_secret(bench, upload, data):
    """Its beginning is written anew, and its size and time say nothing of that."""
    before = os.stat(upload.path)
    length = bench.rng.randrange(1, len(data))
    new = bench.rng.randbytes(length) + data[length:]
    with open(upload.path, "r+b") as file:
        file.write(new[:length])
    os.utime(upload.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return new


def replaced(bench, upload, data):
    new = bench.rng.randbytes(len(data))
    other = upload.path + ".new"
    with open(other, "wb") as file:
        file.write(new)
    os.rename(other, upload.path)
    return new


def truncated(bench, upload, data):
    new = data[:bench.rng.randrange(len(data))]
    os.truncate(upload.path, len(new))
    return new


def appended(bench, upload, data):
    with open(upload.path, "ab") as file:
        file.write(bench.rng.randbytes(10_000))


CHANGES = {"rewritten in secret": rewritten_in_secret, "replaced": replaced, "cut": truncated, "grown": appended}
REASONS = ("FILE_CHANGED", "DIGEST_MISMATCH")  # the second: it changed each time that it was sent


def judge_changed(bench, house, name, upload, new):
    state = wait_final(house, [upload], 30)[upload.id]
    versions = [upload] + ([Upload.of(CLIENT, upload.id, new)] if new is not None else [])
    states = [stored_state(house, version) for version in versions]
    error = (house.request_row(upload.id) or {}).get("error") or {}
    if state is None:
        bench.tally.count("hung", f"{upload}, {name}, is not at its end after 30 s")
    elif state == "completed" and "whole" in states:
        upload.sha256 = versions[states.index("whole")].sha256
        bench.tally.count("completed")
    elif state == "failed" and states[0] == "absent" and error.get("reason") in REASONS and name != "grown":
        bench.tally.count("honest")
    else:
        bench.tally.count("wrong", f"{upload}, {name}: {state}, {states}, {error}")


KINDS = {f"file.{name}": (change(name), 4, 25) for name in CHANGES}
