"""A store that is full: nothing is lost, nothing half is called complete, and the work goes on when there is room again."""

import os
import subprocess

import pytest

from harness.waiting import wait_until

MIB = 1 << 20
UPLOADS = "/v1/uploads/"


@pytest.fixture
def house(house):
    """Its store has room for 8 MB."""
    house.store.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "beckon-e2e", house.store], check=False,
                             capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield house.start(receiver={"limits": {"free_space_floor": "512K"}})
    finally:
        if house.receiver:
            house.receiver.stop()
        subprocess.run(["umount", house.store], check=True)


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
