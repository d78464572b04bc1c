"""Steers faultline.c: the n-th call of a running program goes wrong when armed, and nothing does before and after."""

import errno
import mmap
import os
import struct

CALLS = ["open", "read", "pread", "write", "pwrite", "fsync", "fdatasync", "rename", "link", "unlink", "mkdir", "truncate",
         "stat", "access", "sync_range", "socket", "accept", "pipe", "spawn", "thread", "memory"]
ACTIONS = {"short": -1, "kill before": -2, "kill after": -3}
FORMAT = "QqqiiQQ"  # as struct Faultline
SIZE = 4096

# What each call can really fail with.
ERRORS = {
    "open": ["EMFILE", "EIO", "ENOSPC", "ENOMEM"], "read": ["EIO", "EINTR", "short"], "pread": ["EIO", "EINTR", "short"],
    "write": ["EIO", "ENOSPC", "EINTR", "short"], "pwrite": ["EIO", "ENOSPC", "short"], "fsync": ["EIO", "ENOSPC"],
    "fdatasync": ["EIO"], "rename": ["EIO", "ENOSPC"], "unlink": ["EIO"], "mkdir": ["ENOSPC", "EIO"], "truncate": ["EIO"],
    "stat": ["EIO", "ENOMEM"], "access": ["EIO"], "sync_range": ["EIO", "ENOSPC"], "socket": ["EMFILE"], "accept": ["EMFILE"],
    "pipe": ["EMFILE"], "spawn": ["EAGAIN"], "thread": ["EAGAIN"], "memory": ["ENOMEM"],
}


class Faultline:
    """The steering of one program; several may map it, as workers do."""

    def __init__(self, folder, program):
        folder.mkdir(exist_ok=True)
        path = folder / program
        path.write_bytes(bytes(SIZE))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)

    def arm(self, calls, action, nth, times=1):
        """calls: names. action: an error's name, or one of ACTIONS. The nth call from now on, and times in all."""
        number = ACTIONS[action] if action in ACTIONS else getattr(errno, action)
        mask = sum(1 << CALLS.index(call) for call in calls)
        self.disarm()
        struct.pack_into(FORMAT, self._map, 0, 0, nth, times, number, -1, 0, 0)
        struct.pack_into("Q", self._map, 0, mask)  # last: from here on it counts

    def disarm(self):
        struct.pack_into("Q", self._map, 0, 0)

    @property
    def hits(self):
        return self._fields()[5]

    @property
    def seen(self):
        return self._fields()[6]

    @property
    def last(self):
        """The name of the call that was hit."""
        number = self._fields()[4]
        return CALLS[number] if number >= 0 else None

    def _fields(self):
        return struct.unpack_from(FORMAT, self._map)


def library():
    """Beside the programs' folder, where the build puts it."""
    return os.environ["BECKON_FAULTLINE"]
