"""A reader of GET /events: server-sent events as any client sees them."""

import http.client
import json
import threading

from . import contract
from .waiting import wait_until


class Event:
    def __init__(self, number, kind, data):
        self.id = number
        self.kind = kind
        self.data = data

    def __repr__(self):
        return f"<{self.id} {self.kind} {self.data}>"


class EventReader:
    """Reads on a thread of its own until close(). events: all so far; last_id: to come back with; beats: heartbeats; ended: the
    server has ended it.

    With reads=False it reads the head only, until read()."""

    body = None  # for contract.py: it is not looked at as a whole

    def __init__(self, https, path="/events", last_id=None, reads=True):
        self.events = []
        self.last_id = last_id
        self.beats = 0
        self.ended = False
        self.stream = https.connect()
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{https.port}\r\nAuthorization: Bearer {https.bearer}\r\n"
        if last_id is not None:
            head += f"Last-Event-ID: {last_id}\r\n"
        self.stream.sendall((head + "\r\n").encode())
        self.file = self.stream.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = http.client.parse_headers(self.file)
        contract.check_answer(https.document, "GET", path, None, self)
        self.thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200 and reads:
            self.read()

    def read(self):
        self.thread.start()

    def _lines(self):
        """The body without its chunks' heads: a chunk holds whole events."""
        while size := int(self.file.readline().strip() or b"0", 16):
            yield from self.file.read(size).decode().split("\n")
            self.file.readline()

    def _read(self):
        fields = {}
        try:
            for line in self._lines():
                if line.startswith(":"):
                    self.beats += 1
                elif line:
                    name, value = line.split(": ", 1)
                    fields[name] = value
                else:
                    self.last_id = fields.get("id", self.last_id)
                    if "event" in fields:
                        self.events.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
                        contract.check_event(fields["event"], self.events[-1].data)
                    fields = {}
        except (OSError, ValueError):
            pass
        self.ended = True

    def of(self, kind, **wanted):
        """The events of a kind whose data has these members."""
        return [event for event in list(self.events)
                if event.kind == kind and all(event.data.get(name) == value for name, value in wanted.items())]

    def wait(self, kind, **wanted):
        wait_until(lambda: self.of(kind, **wanted), lambda: f"the event {kind} {wanted}; there were {self.events[-5:]}")
        return self.of(kind, **wanted)[0]

    def close(self):
        try:
            self.stream.shutdown(2)
        except OSError:
            pass
        if self.thread.is_alive():
            self.thread.join(10)
        if not self.thread.is_alive():
            self.file.close()  # or the descriptor stays open with it
        self.stream.close()
