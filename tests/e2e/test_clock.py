"""A receiver whose clock is wrong for a while takes good certificates for untimely ones. That must end nothing."""

import shutil

import pytest

from harness.clock import YEAR_S, Clock, faketime_library
from harness.pki import Pki
from harness.waiting import SANITIZED

pytestmark = pytest.mark.skipif(SANITIZED or not faketime_library(), reason="needs faketime, which sanitizers do not bear")


@pytest.mark.parametrize("jump_s, why", [(-30 * YEAR_S, "it is not valid yet"), (80 * YEAR_S, "it has expired")])
def test_clock_of_the_receiver_that_jumps_ends_no_upload(house, jump_s, why):
    clock = Clock(house)
    house.launch["receiver"] = ([], clock.environment())
    house.start()
    agent = house.agents["restaurant_1"]
    clock.set(jump_s)
    request_id = house.ask("restaurant_1", agent.file("patient", b"patient"))
    agent.wait_log(f"{request_id}: attempt 1 failed: CERTIFICATE_UNTIMELY")
    line = house.receiver.wait_log(f"warn.*certificate refused for now: {why}")
    assert "clock" in line
    clock.set(0)
    row = house.wait_status(request_id, "completed", "failed", timeout_s=60)
    assert row["status"] == "completed", row
    assert house.stored("restaurant_1", request_id).read_bytes() == b"patient"


def test_ticket_that_is_over_by_the_receivers_clock_alone_ends_no_upload(house):
    clock = Clock(house)
    house.launch["receiver"] = ([], clock.environment())
    house.start()
    agent = house.agents["restaurant_1"]
    clock.set(30 * 86400)
    request_id = house.ask("restaurant_1", agent.file("patient", b"patient"))
    agent.wait_log(f"{request_id}: attempt .* failed: TICKET_EXPIRED")
    clock.set(0)
    row = house.wait_status(request_id, "completed", "failed")
    assert row["status"] == "completed", row


def test_certificate_that_would_never_do_is_refused_for_good(house):
    """Untimely is said only of one that would do at another time."""
    house.pki = Pki.make(house.folder / "pki")
    clock = Clock(house)
    house.launch["receiver"] = ([], clock.environment())
    kept = copy_of(house.pki.client("gone"), house.folder)
    house.pki.run("revoke", "client/gone")
    house.start()
    clock.set(80 * YEAR_S)
    statuses = [house.https(identity).request("PUT", "/v1/uploads/x", b"x").status
                for identity in (house.pki.client("restaurant_1"), kept, house.pki.server("localhost"))]
    assert statuses == [503, 403, 403] and house.stored_files() == []


def copy_of(identity, folder):
    """Revoking removes the original."""
    return [shutil.copy(path, folder) for path in identity]
