"""The invariant: a stored file equals its source, or nobody was told that it is complete."""

import hashlib
import http.client
import json
import time
from dataclasses import dataclass, field

from harness.tokens import verify
from harness.waiting import NotYet, wait_until

FINAL = ("completed", "failed", "rejected", "cancelled", "expired")


@dataclass
class Upload:
    """What should arrive. claims: who said that it is complete, each with the digest that was said."""

    client: str
    id: str
    size: int
    sha256: str
    path: str = ""
    claims: list = field(default_factory=list)

    @classmethod
    def of(cls, client, upload_id, data, path=""):
        return cls(client, upload_id, len(data), hashlib.sha256(data).hexdigest(), str(path))

    def __str__(self):
        return f"{self.client}/{self.id} ({self.size} bytes)"


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_state(house, upload):
    """"whole", "absent", or what is wrong with what lies in the store. Absent is also what has no metadata, or is still
    marked as a commit in progress: nobody is served it."""
    metadata = house.store / upload.client / f"{upload.id}.json"
    folder = house.store / upload.client / upload.id
    pending = house.store / ".outbox" / f"{upload.client}.{upload.id}.pending"
    files = list(folder.iterdir()) if folder.is_dir() else []
    if len(files) > 1:
        return f"{len(files)} files in its folder"
    if not files or not metadata.exists() or pending.exists():
        return "absent"
    said = json.loads(metadata.read_text())
    digest = digest_of(files[0])
    if digest != said["sha256"]:
        return f"metadata says {said['size']} bytes {said['sha256'][:12]}, the file has {files[0].stat().st_size} {digest[:12]}"
    if digest != upload.sha256:
        return f"the file has {files[0].stat().st_size} bytes {digest[:12]}, the source {upload.size} {upload.sha256[:12]}"
    return "whole"


def judge_stored(tally, house, upload, final_state):
    """Counts an upload whose end is known: final_state is "completed", or what else became of it."""
    state = stored_state(house, upload)
    claimed = final_state == "completed" or upload.claims
    if state == "whole" and final_state == "completed":
        return tally.count("completed")
    if state == "absent" and not claimed:
        return tally.count("honest")
    if state == "absent":
        return tally.count("lost", f"{upload} is {final_state}, said to be complete by {upload.claims or 'its row'}, not there")
    return tally.count("wrong", f"{upload} is {final_state}: {state}")


def wait_final(house, uploads, patience_s):
    """The state of each upload's row once it is final; of one that hangs, None."""
    deadline = time.monotonic() + patience_s
    states = {}
    for upload in uploads:
        states[upload.id] = None
        while True:
            state = state_of(house, upload)
            if state in FINAL:
                states[upload.id] = state
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
    return states


def state_of(house, upload):
    try:
        row = house.request_row(upload.id)
    except (OSError, http.client.HTTPException):
        return None  # the coordinator is away just now
    return row["status"] if row else None


def settle(tally, house, uploads, patience_s=30, must_complete=False):
    """Waits for the end of each and counts it. must_complete: nothing that was done excuses another end."""
    for upload_id, state in wait_final(house, uploads, patience_s).items():
        upload = next(one for one in uploads if one.id == upload_id)
        if state is None:
            tally.count("hung", f"{upload} is {state_of(house, upload)} after {patience_s} s")
        elif must_complete and state != "completed":
            tally.count("wrong", f"{upload} is {state}: {house.request_row(upload.id).get('error')}")
        else:
            judge_stored(tally, house, upload, state)


def is_clean(house):
    """Nothing is left over that nobody will ever remove: a list of what is."""
    left = [path for path in house.store.rglob("*") if path.is_file() and path.suffix in (".tmp", ".pending", ".receipt")]
    for agent in house.agents.values():
        left += list(agent.state.rglob("*.tmp"))
        for path in (agent.state / "jobs").glob("*.json"):
            job = json.loads(path.read_text())
            if not job.get("reported"):
                left.append(f"{path.name}: not reported")
        left += [f"worker {pid}" for pid in agent.workers()]
    return left


def audit(tally, house, uploads, unlinks_failed=False, patience_s=30):
    """After everything: what is complete is still there, and nothing is left over. What only a restart sorts out is
    given one. unlinks_failed: then a part may stay until the next start, even of a complete upload."""
    left = ["?"]

    def clean():
        left[:] = is_clean(house)
        return not left
    try:
        wait_until(clean, "nothing to be left over", patience_s / 10)
    except NotYet:
        for daemon in [house.receiver, *house.agents.values()]:
            daemon.restart()
    try:
        wait_until(clean, "nothing to be left over", patience_s)
    except NotYet:
        tally.count("wrong", f"left over: {[str(one) for one in left][:6]}")
    judge_incoming(tally, house, uploads, unlinks_failed)
    known = {(upload.client, upload.id): upload for upload in uploads}
    for path in house.stored_files():
        upload = known.get((path.parts[-3], path.parts[-2]))
        if upload is None:
            tally.count("wrong", f"nobody asked for {path}")
        elif stored_state(house, upload) != "whole" or state_of(house, upload) != "completed":
            tally.count("wrong", f"{upload} is {state_of(house, upload)}: {stored_state(house, upload)}")
    for upload in uploads:
        if state_of(house, upload) == "completed" and stored_state(house, upload) != "whole":
            tally.count("lost", f"{upload}: completed, and {stored_state(house, upload)} in the end")


def judge_incoming(tally, house, uploads, unlinks_failed):
    """Of what is complete there is no part left; and what is left of the rest goes when its time is over."""
    incoming = house.store / ".incoming"
    complete = {f"{upload.client}.{upload.id}" for upload in uploads if state_of(house, upload) == "completed"}

    def leftovers():
        return [path.name for path in incoming.iterdir() if path.suffix != ".aside" and path.name.rsplit(".", 2)[0] in complete]
    if unlinks_failed and leftovers():
        house.receiver.restart()
    left = leftovers()
    if left:
        tally.count("wrong", f"of complete uploads is left: {left[:6]}")
    if not any(incoming.iterdir()):
        return
    with open(house.folder / "receiver.conf", "a", encoding="utf-8") as config:
        config.write("[limits]\nincomplete_keep=1s\naside_keep=1s\n")
    time.sleep(2.1)
    house.receiver.restart()
    try:
        wait_until(lambda: not any(incoming.iterdir()), "old parts to be removed", 30)
    except NotYet:
        tally.count("wrong", f"left over though its time is over: {[path.name for path in incoming.iterdir()][:6]}")


def receipt_claims(house, observer, uploads):
    """Adds what signed receipts have said on the broker."""
    for upload in uploads:
        for message in observer.on(f"beckon/v1/{upload.client}/receipt/{upload.id}"):
            said = verify(message["receipt"], house.pki.token_public("receiver"), "beckon-receipt+jwt")
            upload.claims.append(("receipt", said["sha256"]))
