"""HTTP as nobody should speak it: bytes on a TLS connection, and what comes back."""

import re
import ssl
import time

from .waiting import SLOWNESS

QUIET_S = 0.4  # how long a server that waits for more is listened to
CLOSED = "closed"  # instead of a status: the connection ended without an answer
WAITS = "waits"  # neither: it waits for the rest


class RawAnswer:
    def __init__(self, data, ended):
        self.data = data
        self.ended = ended
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", data)
        self.status = int(match[1]) if match else CLOSED if ended and not data else WAITS if not data else "garbage"

    def header(self, name):
        match = re.search(rb"(?im)^" + name.encode() + rb": *([^\r]*)", self.head)
        return match[1].decode() if match else None

    def closes(self):
        """Whether the server will take no other request on this connection."""
        return self.ended or (self.header("Connection") or "").lower() == "close"

    def is_whole(self):
        length = self.header("Content-Length")
        return b"\r\n\r\n" in self.data and (len(self.body) >= int(length or 0))

    def __repr__(self):
        return f"<{self.status} {self.data[:300]!r}{' ended' if self.ended else ''}>"


def send(client, data, slices=1, pause_s=0, quiet_s=QUIET_S, has_body=True):
    """Sends data on a connection of its own, in so many slices; the first answer that is not 100."""
    with client.connect() as stream:
        size = max(1, -(-len(data) // slices))
        try:
            for at in range(0, len(data), size):
                stream.sendall(data[at:at + size])
                time.sleep(pause_s)
        except OSError:
            pass  # the server has ended it already; what it said first may still be there
        return receive(stream, quiet_s, has_body)


def receive(stream, quiet_s=QUIET_S, has_body=True):
    stream.settimeout(quiet_s * SLOWNESS)
    data, ended = b"", False
    while not ended:
        try:
            more = stream.recv(65536)
            ended = not more
            data += more
        except (TimeoutError, ssl.SSLWantReadError):
            break
        except OSError:
            ended = True
        data = re.sub(rb"\AHTTP/1\.1 100 Continue\r\n\r\n", b"", data)
        answer = RawAnswer(data, ended)
        if answer.is_whole() or (not has_body and b"\r\n\r\n" in data):
            break
    return RawAnswer(data, ended)
