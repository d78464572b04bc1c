"""What one kind of fault works with: a house, random numbers, a tally, and how long it may go on."""

import contextlib
import http.client
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from harness.house import House, merge
from harness.pki import Pki
from harness.process import Daemon
from harness.waiting import wait_until

from .faultline import Faultline, library
from .judge import Upload, audit, settle
from .link import FaultyLink
from .tally import Tally

PROGRAMS = {"receiver": "beckon-receiver", "agent": "beckon-agent", "worker": "beckon-upload",
            "coordinator": "beckon-coordinator"}
CLIENT = "restaurant_1"
UNREACHABLE = (OSError, http.client.HTTPException)

# Links that come back are tried again soon; a campaign has no hours.
SOON = {"mqtt": {"backoff_min": "100ms", "backoff_max": "200ms"}}
SOON_COORDINATOR = {**SOON, "requests": {"republish": "2s"}}
SOON_AGENT = {"agent": {"concurrency": 4}, "mqtt": SOON["mqtt"],
              "receiver": {"backoff_min": "100ms", "backoff_max": "200ms", "stall_time": "3s", "commit_timeout": "8s"}}


def add_environment(house, role, more):
    """Adds to what a program is started with."""
    prefix, env = house.launch.get(role, ([], {}))
    house.launch[role] = (prefix, {**env, **more})


class Skipped(Exception):
    """This machine can't; the text says why."""


class Bench:
    def __init__(self, kind, options, runs, deadline, pki_folder):
        self.tally = Tally(kind)
        self.rng = random.Random(f"{options.seed}/{kind}")
        self.long = options.long
        self.plant = options.plant
        self.until_bad = options.until_bad
        self.runs = runs
        self.deadline = deadline
        self.folder = Path(tempfile.mkdtemp(prefix="beckon-faults-"))
        self.pki = Pki(pki_folder)
        self.uploads = []
        self.unlinks_failed = False
        self._number = 0

    def close(self):
        if os.environ.get("BECKON_FAULTS_KEEP"):
            self.tally.note(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def rounds(self):
        """Counts the runs, until there are enough or the time is over."""
        while self.tally.runs < self.runs and time.monotonic() < self.deadline and not (self.until_bad and self.tally.bad):
            self.tally.runs += 1
            yield self.tally.runs

    # houses

    def make_house(self):
        self._number += 1
        folder = self.folder / f"house{self._number}"
        folder.mkdir()
        house = House(folder, self.pki)
        if self.plant:
            house.launch = {role: ([], {"BECKON_PLANT": self.plant}) for role in ("receiver", "agent", "coordinator")}
        return house

    @contextlib.contextmanager
    def house(self, agent=None, receiver=None, coordinator=None, link=None, house=None):
        """A whole one that is quick to try again; looked through in the end. link: see FaultyLink; its uploads go through
        house.link."""
        house = house or self.make_house()
        self.uploads = []
        try:
            house.start_broker()
            house.start_receiver(merge(SOON, receiver))
            house.start_coordinator(merge(SOON_COORDINATOR, coordinator))
            config = merge(SOON_AGENT, agent)
            if link:
                house.link = house.closing(FaultyLink(house.receiver_port, link))
                config["receiver"]["url"] = f"https://127.0.0.1:{house.link.port}"
            house.start_agent(CLIENT, config)
            yield house
            audit(self.tally, house, self.uploads, self.unlinks_failed)
        finally:
            try:
                house.close()
            except AssertionError as error:
                self.tally.count("wrong", f"a daemon ended badly: {first_lines(error)}")

    def steer(self, house, *roles):
        """Puts the faultline under these programs; returns their steering. Before they start."""
        if not os.path.exists(library()):
            raise Skipped("needs libfaultline.so, which a build with sanitizers does not have")
        folder = house.folder / "faults"
        lines = {role: Faultline(folder, PROGRAMS[role]) for role in roles}
        env = {"LD_PRELOAD": library(), "BECKON_FAULTS": str(folder)}
        for role in roles:
            add_environment(house, "agent" if role == "worker" else role, env)
        return lines

    # uploads

    def data(self, largest=300_000):
        """Often small, sometimes nothing, sometimes large."""
        size = self.rng.choice([0, 1, self.rng.randrange(2, 4096), self.rng.randrange(4096, 70_000), self.rng.randrange(largest)])
        return self.rng.randbytes(size)

    def ask(self, house, data, patience_s=30, dying=None, **limits):
        """A file on the device, asked for over REST; asked again with the same key if the answer is lost. dying: a daemon
        that may be killed by that, and is started again."""
        self._number += 1
        path = house.agents[CLIENT].file(f"file{self._number}", data)
        key = {"Idempotency-Key": f"key-{self._number}"}
        last = [None]

        def answered():
            try:
                last[0] = house.api().request("POST", "/download",
                                              {"clientId": CLIENT, "fileName": str(path), **limits}, key)
            except UNREACHABLE as error:
                last[0] = error
                if dying:
                    self.revive(dying)
                return None
            return last[0] if last[0].status == 202 else None
        answer = wait_until(answered, lambda: f"the coordinator to take a request: {last[0]}", patience_s)
        upload = Upload.of(CLIENT, answer.json()["requestId"], data, path)
        self.uploads.append(upload)
        return upload

    def settle(self, house, uploads, patience_s=30, must_complete=False):
        settle(self.tally, house, uploads, patience_s, must_complete)
        for upload in uploads:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(upload.path)

    def revive(self, daemon: Daemon, wait=True):
        """Starts again what a fault has ended."""
        if not daemon.alive():
            if daemon.process is not None:
                daemon.kill()
            daemon.start(wait)

    def sleep(self, at_most_s):
        """A random moment; the only kind of test in which passing time is the point."""
        time.sleep(self.rng.random() * at_most_s)


def first_lines(error, count=4):
    return " | ".join(str(error).splitlines()[:count])[:600]


def run_quietly(*words):
    """A tool that may be missing."""
    try:
        return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))
