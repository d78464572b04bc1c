"""A disk that is full: nothing is lost, nothing half is called complete, and the work goes on when there is room again."""

import contextlib
import os
import subprocess

import pytest

from conftest import opened
from harness.house import House
from harness.waiting import wait_until

MIB = 1 << 20
UPLOADS = "/v1/uploads/"


@contextlib.contextmanager
def small_disk(place):
    """Has room for 8 MB."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "beckon-e2e", place], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def house(house):
    """Its store is small."""
    with small_disk(house.store):
        try:
            yield house.start(receiver={"limits": {"free_space_floor": "512K"}})
        finally:
            if house.receiver:
                house.receiver.stop()


def test_upload_into_a_full_store_is_507_and_fits_later(house, pki, upload):
    https = house.https(pki.client("restaurant_1"))
    filler = house.store / "filler"
    filler.write_bytes(bytes(7 * MIB))
    data = os.urandom(3 * MIB)
    try:
        answer = https.put_chunked(UPLOADS + upload, data)
        assert answer.status == 507, answer
        assert answer.json()["reason"] == "NO_SPACE"
    except OSError:
        pass  # dropped in the middle of the body; what follows tells
    assert https.request("GET", UPLOADS + upload).status == 404
    assert house.stored("restaurant_1", upload) is None
    filler.unlink()
    assert https.request("PUT", UPLOADS + upload, data).status == 201
    assert house.stored("restaurant_1", upload).read_bytes() == data


def test_request_waits_until_there_is_room(house):
    filler = house.store / "filler"
    filler.write_bytes(bytes(7 * MIB))
    agent = house.agents["restaurant_1"]
    data = os.urandom(3 * MIB)
    request_id = house.ask("restaurant_1", agent.file("big", data))
    agent.wait_log("attempt 1 failed")
    wait_until(lambda: house.request_row(request_id)["status"] in ("accepted", "running"), "the request to be still open")
    assert house.stored("restaurant_1", request_id) is None
    filler.unlink()
    row = house.wait_status(request_id, "completed", "failed", timeout_s=30)
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == data


def fill(disk):
    """To the last page."""
    path = disk / "filler"
    with open(path, "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return path


def test_coordinator_is_not_ready_while_its_disk_is_full(folder, pki):
    with small_disk(folder / "disk") as disk, opened(House(folder, pki)) as own:
        own.start(coordinator={"coordinator": {"database": disk / "coordinator.db"}})
        api, wish = own.api(), {"clientId": "restaurant_1", "fileName": str(own.agents["restaurant_1"].file("x", b"x"))}
        assert api.request("GET", "/readyz").status == 200
        filler = fill(disk)
        answer = api.request("GET", "/readyz")
        assert answer.status == 503 and answer.json()["status"] == "the database's disk is full", answer
        answer = api.request("POST", "/download", wish)
        assert answer.status == 503 and answer.json()["reason"] == "NO_SPACE", answer
        filler.unlink()
        wait_until(lambda: api.request("GET", "/readyz").status == 200, "readiness when there is room")
        own.wait_status(api.request("POST", "/download", wish).json()["requestId"], "completed")
