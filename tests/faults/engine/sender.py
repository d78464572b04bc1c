"""An uploader that speaks HTTPS itself, to be cut off anywhere, and to remember each promise that it was given."""

import http.client
import os

from harness.https import repr_digest

from .bench import CLIENT
from .judge import Upload, stored_state

BROKEN = (OSError, http.client.HTTPException)  # of a connection that ends in mid sentence


class Sender:
    def __init__(self, house, client=CLIENT):
        self.house = house
        self.client = client
        self.https = house.https(house.pki.client(client))

    def new(self, data):
        upload = Upload.of(self.client, "u-" + os.urandom(8).hex(), data)
        upload.data = data
        upload.begun = False
        return upload

    @staticmethod
    def place(upload):
        return f"/v1/uploads/{upload.id}"

    def put(self, upload, **headers):
        """Returns the answer, or None if the connection broke. A promise goes into upload.claims."""
        return self._send(upload, 0, "PUT", {"Upload-Length": str(upload.size), **headers})

    def patch(self, upload, offset, **headers):
        fields = {"Content-Type": "application/partial-upload", "Upload-Offset": str(offset), "Upload-Complete": "?1",
                  "Upload-Length": str(upload.size)}
        return self._send(upload, offset, "PATCH", {**fields, **headers})

    def patch_without_digest(self, upload, offset):
        """As a client may that has nothing to check with."""
        fields = {"Content-Type": "application/partial-upload", "Upload-Offset": str(offset), "Upload-Complete": "?1",
                  "Content-Length": str(upload.size - offset)}
        try:
            return self.https.request("PATCH", self.place(upload), upload.data[offset:], fields)
        except BROKEN:
            return None

    def head(self, upload):
        return self.https.request("HEAD", self.place(upload))

    def finish(self, upload):
        """As the worker does: asks how far it got, and goes on from there."""
        head = self.head(upload)
        if head.status == 204 and head["Upload-Complete"] == "?1":
            if head["Repr-Digest"] == repr_digest(upload.data):
                upload.claims.append(("HEAD", upload.sha256))
            return head
        offset = int(head["Upload-Offset"] or 0) if head.status == 204 else 0
        return self.patch(upload, offset) if offset else self.put(upload)

    def prefix_fault(self, upload):
        """What is wrong with the offset that is stated now, or None: that many bytes must be there, and be the source's."""
        head = self.head(upload)
        if head.status != 204 or head["Upload-Complete"] == "?1":
            return None
        offset = int(head["Upload-Offset"])
        parts = [path for path in (self.house.store / ".incoming").iterdir()
                 if path.name.startswith(f"{upload.client}.{upload.id}.") and path.suffix == ".part"]
        held = parts[0].read_bytes() if len(parts) == 1 else b""
        if offset > len(held) or held[:offset] != upload.data[:offset]:
            return f"{upload}: offset {offset} is stated, and {len(held)} bytes are there in {len(parts)} parts"
        return None

    def _send(self, upload, offset, method, headers):
        try:
            answer = self.https.put_chunked(self.place(upload), upload.data[offset:], headers,
                                            {"Repr-Digest": repr_digest(upload.data)}, method)
        except BROKEN:
            return None
        if answer.status in (200, 201):
            upload.claims.append((method, upload.sha256))
        return answer


def judge_promises(tally, house, upload):
    """Counts an upload of which only the promises are known."""
    state = stored_state(house, upload)
    if state == "whole":
        tally.count("completed")
    elif state == "absent" and upload.claims:
        tally.count("lost", f"{upload} was promised by {[who for who, _ in upload.claims]} and is not there")
    elif state == "absent":
        tally.count("honest")
    else:
        tally.count("wrong", f"{upload}: {state}")
