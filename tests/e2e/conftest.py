"""Fixtures of the system tests. A test opens a House (harness/house.py) of its own, or shares one with its file.

BECKON_BIN_DIR   the folder with the programs (default: build/dev/bin)
BECKON_SANITIZE  not empty: they carry sanitizers, so deadlines stretch and sizes shrink
BECKON_E2E_LONG  not empty: the tests that have a long form run that: a thousand agents, ten thousand requests
BECKON_E2E_KEEP  not empty: leave the temporary folders in place, to look into them"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

from harness import contract  # noqa: E402
from harness.house import House  # noqa: E402
from harness.pki import Pki  # noqa: E402

open_houses = []


@contextlib.contextmanager
def temporary_folder():
    folder = Path(tempfile.mkdtemp(prefix="beckon-e2e-"))
    try:
        yield folder
    finally:
        if not os.environ.get("BECKON_E2E_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def opened(house):
    open_houses.append(house)
    try:
        yield house
    finally:
        open_houses.remove(house)
        house.close()


@pytest.fixture(scope="session")
def pki():
    with temporary_folder() as folder:
        yield Pki.make(folder / "pki")


@pytest.fixture
def folder():
    with temporary_folder() as path:
        yield path


@pytest.fixture
def house(folder, pki):
    """An empty house of the test's own: start what it needs."""
    with opened(House(folder, pki)) as one:
        yield one


@pytest.fixture(scope="module")
def shared_house(pki):
    """The house that a file's tests share; the file's own fixture starts it."""
    with temporary_folder() as path, opened(House(path, pki)) as one:
        yield one


@pytest.fixture
def upload(request):
    """An upload id of the test's own that says whose it is."""
    return re.sub("[^A-Za-z0-9]+", "-", request.function.__name__)[5:48] + "-" + os.urandom(4).hex()


@pytest.fixture(autouse=True)
def no_fault_goes_unnoticed():
    """A sanitizer's report, a daemon that died, or an answer against the contract fails the test during which it happened."""
    yield
    faults = [fault for house in open_houses for fault in house.check()] + contract.take_faults()
    assert not faults, "\n".join(faults)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """A failure shows the end of every daemon's log."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in [daemon for house in open_houses for daemon in house.daemons]:
            report.sections.append((f"log of {daemon.name}, run {daemon.runs}", daemon.tail()))


