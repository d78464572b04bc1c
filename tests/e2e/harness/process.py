"""A daemon under test: started, watched, stopped or killed by its own pid, its output kept."""

import os
import re
import signal
import subprocess
import time

from .waiting import PATIENCE_S, SLOWNESS, wait_until

STOP_WITHIN_S = 15  # a busy machine is no fault; how fast a daemon stops has tests of its own
LOG_TAIL_LINES = 60
SANITIZER_REPORT = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|SUMMARY: \w+Sanitizer|runtime error:|DEADLYSIGNAL")
SANITIZER_EXIT = 86  # an exit code that none of the programs uses

HERE = os.path.dirname(os.path.abspath(__file__))
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:detect_leaks=1:abort_on_error=0",
    "LSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}",
    "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:print_stacktrace=1",
    "TSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:second_deadlock_stack=1:suppressions={HERE}/tsan.supp",
}


def environment(**extra):
    """Of a child: without what a developer's shell may have set for Beckon or for the network."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("BECKON_") and not name.lower().endswith("_proxy")}
    return {**kept, **SANITIZER_ENVIRONMENT, **extra}


class Daemon:
    """ready: a pattern of the log line that says it serves."""

    def __init__(self, name, argv, folder, ready=None, env=None):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.folder = folder
        self.ready = ready
        self.env = env or {}
        self.process = None
        self.runs = 0
        self.log_path = None
        self.faults = []  # what a test must be told though nobody asked
        self._reported = set()

    def start(self, wait=True):
        assert not self.alive(), f"{self.name} is running already"
        self.runs += 1
        self.log_path = self.folder / f"{self.name}.{self.runs}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.argv, cwd=self.folder, env=environment(**self.env),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        if wait and self.ready:
            self.wait_log(self.ready)
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """Everything this run has written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path else ""

    def log_lines(self, pattern):
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern, timeout_s=PATIENCE_S, count=1):
        """The first (or count-th) line that matches."""
        def seen():
            lines = self.log_lines(pattern)
            if len(lines) >= count:
                return lines[count - 1]
            assert self.alive(), f"{self.name} ended with {self.process.returncode} instead of logging /{pattern}/"
            return None
        return wait_until(seen, f"/{pattern}/ in the log of {self.name}", timeout_s)

    def children(self):
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        except FileNotFoundError:
            return []

    def kill(self):
        """As a power cut would, and waits until its children are gone too."""
        children = self.children()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(is_running(pid) for pid in children), f"the children of {self.name} to die", 5)
        self._check_output()
        self.process = None

    def stop(self):
        """SIGTERM; must end soon and with 0. What is wrong is noted in faults."""
        if self.process is None:
            return self
        if self.process.poll() is not None:
            self._fault(f"{self.name} ended by itself with {self.process.returncode}")
        else:
            children = self.children()
            asked = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_WITHIN_S * SLOWNESS)
            except subprocess.TimeoutExpired:
                self._fault(f"{self.name} still runs {time.monotonic() - asked:.1f} s after SIGTERM")
                self.process.kill()
                self.process.wait()
            else:
                if self.process.returncode != 0:
                    self._fault(f"{self.name} ended with {self.process.returncode} on SIGTERM")
            left = [pid for pid in children if is_running(pid)]
            if left:
                self._fault(f"{self.name} left its children {left} behind")
        self._check_output()
        self.process = None
        return self

    def restart(self, wait=True):
        self.stop()
        return self.start(wait)

    def check(self):
        """Notes sanitizer reports and an early death; called after every test."""
        if self.process is not None and self.process.poll() is not None:
            self._fault(f"{self.name} ended by itself with {self.process.returncode}")
            self.process = None
        self._check_output()

    def tail(self, lines=LOG_TAIL_LINES):
        return "\n".join(self.log().splitlines()[-lines:])

    def _check_output(self):
        log = self.log()
        match = SANITIZER_REPORT.search(log)
        if match:
            self._fault(f"{self.name} (run {self.runs}): {log[match.start():match.start() + 4000]}")

    def _fault(self, text):
        key = (self.runs, text[:60])
        if key not in self._reported:
            self._reported.add(key)
            self.faults.append(text)


def is_running(pid):
    """A process that is neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def program_of(pid):
    """The name of what it runs, which is its parent's between fork and exec; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            return file.read().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds(pid):
    """User and system time so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid):
    """Resident memory now; 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
