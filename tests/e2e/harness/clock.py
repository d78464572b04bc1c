"""A wall clock of one program's own, that jumps; by libfaketime."""

from pathlib import Path
from uuid import uuid4

LIBRARIES = ["/usr/lib/{}/faketime/libfaketimeMT.so.1".format(machine) for machine in
             ("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf")]
YEAR_S = 365 * 86400


def faketime_library():
    """None where it is not installed."""
    return next((path for path in LIBRARIES if Path(path).exists()), None)


class Clock:
    """Its monotonic one goes on as ever. What it says is in a file beside the certificates, as a program in its cage reads no other
    folder of the house. A worker reads none: it keeps the time that it started with."""

    def __init__(self, house):
        self.path = house.pki.folder / f"clock-{uuid4().hex}"
        self.set(0)

    def set(self, offset_s):
        new = self.path.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.rename(self.path)

    def environment(self):
        """What the program is to be started with."""
        return {"LD_PRELOAD": faketime_library(), "FAKETIME_TIMESTAMP_FILE": str(self.path), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
