"""A request is complete when the receiver has signed for it: nobody else's word completes it, and a lost receipt is found."""

import hashlib
import os
import time

import jwt
import pytest

from harness.house import command_payload
from harness.observer import Observer
from harness.proxy import Proxy
from harness.tokens import sign, unsigned, verify, with_claims
from harness.waiting import stays, wait_until


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start(agents=("restaurant_1", "restaurant_2"))
    return shared_house


def true_receipt(house, operator, upload):
    """The receipt message of a real upload by restaurant_2."""
    path = house.agents["restaurant_2"].file(upload, upload.encode())
    operator.publish(f"beckon/v1/restaurant_2/cmd/upload/{upload}", command_payload(path))
    return operator.wait_for(f"beckon/v1/restaurant_2/receipt/{upload}")


@pytest.fixture
def wanted(house):
    """A request to restaurant_1 that stays open while the test lasts: its agent is away. (It has no such file.)"""
    agent = house.agents["restaurant_1"]
    agent.stop()
    request_id = house.ask("restaurant_1", agent.files / "wanted")
    yield request_id
    agent.start()
    house.wait_status(request_id, "rejected", "failed")


TYP = "beckon-receipt+jwt"
FORGERIES = {
    "operator-like key": lambda pki, claims, true, kid: sign(claims, pki.token_key("somebody"), TYP),
    "other key with the true kid": lambda pki, claims, true, kid: sign(claims, pki.token_key("somebody"), TYP, kid),
    "coordinator's key": lambda pki, claims, true, kid: sign(claims, pki.token_key("coordinator"), TYP),
    "alg none": lambda pki, claims, true, kid: unsigned(claims, TYP),
    "claims changed": lambda pki, claims, true, kid: with_claims(true, sub="restaurant_1", jti=claims["jti"]),
    "another upload's": lambda pki, claims, true, kid: true,
    "another client's": lambda pki, claims, true, kid:
        sign({**claims, "sub": "restaurant_2"}, pki.token_key("receiver"), TYP, kid),
    "wrong typ": lambda pki, claims, true, kid: sign(claims, pki.token_key("receiver"), "beckon-ticket+jwt", kid),
    "no token": lambda pki, claims, true, kid: "",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_receipt_completes_nothing(house, pki, wanted, upload, forgery):
    operator = house.observer()
    true = true_receipt(house, operator, upload)
    claims = {"sub": "restaurant_1", "jti": wanted, "path": "/x", "size": 4, "sha256": hashlib.sha256(b"fake").hexdigest(),
              "iat": int(time.time()), "iss": "receiver"}
    kid = jwt.get_unverified_header(true["receipt"]).get("kid")
    token = FORGERIES[forgery](pki, claims, true["receipt"], kid)
    # even the receiver's own place on the broker does not help: this is what a broker that lies could do
    liar = house.observer("receiver", subscribe=())
    known = len(house.coordinator.log())
    liar.publish(f"beckon/v1/restaurant_1/receipt/{wanted}", {**true, "receipt": token})
    wait_until(lambda: "receipt" in house.coordinator.log()[known:], "the coordinator to say what it thinks of it")
    true_receipt(house, operator, f"{upload}-2")
    house.wait_status(f"{upload}-2", "completed")  # so the forged one has been dealt with
    assert house.request_row(wanted)["status"] == "queued"


def test_agents_word_alone_completes_nothing(house, pki, wanted):
    device = Observer(house.devices_port, pki.ca, pki.client("restaurant_1"))
    device.publish(f"beckon/v1/restaurant_1/status/{wanted}",
                   {"state": "done", "path": "/x", "size": 4, "sent": 4, "sha256": "0" * 64, "attempt": 1,
                    "at": "2026-01-01T00:00:00.000Z"})
    wait_until(lambda: house.request_row(wanted)["status"] != "queued", "the coordinator to hear it")
    stays(lambda: house.request_row(wanted)["status"] not in ("completed", "failed"), "not completed", 0.5)
    device.close()


def test_lost_receipt_is_told_again(house, pki):
    operator = house.observer()
    first = true_receipt(house, operator, "again")
    coordinator = house.observer("coordinator", subscribe=(), client_id="not-the-coordinator")
    operator.messages.clear()
    coordinator.publish("beckon/v1/restaurant_2/cmd/receipt/again", {})
    again = operator.wait_for("beckon/v1/restaurant_2/receipt/again")
    public = pki.token_public("receiver")
    for message in (first, again):
        claims = verify(message["receipt"], public, "beckon-receipt+jwt")
        assert claims["sha256"] == hashlib.sha256(b"again").hexdigest()


def test_receipt_waits_until_the_receiver_has_its_broker_again(house, folder):
    """The receiver stores the file while it is cut off; the request completes when the link is back."""
    line = house.closing(Proxy(house.people_port))
    config = house.folder / "receiver.conf"
    original = config.read_text()
    house.receiver.stop()
    config.write_text(original.replace(f"port={house.people_port}", f"port={line.port}"))
    house.receiver.start()
    try:
        house.receiver.wait_log("connected to the broker")
        line.black_out()
        path = house.agents["restaurant_1"].file("cutoff", os.urandom(1000))
        request_id = house.ask("restaurant_1", path)
        wait_until(lambda: house.stored("restaurant_1", request_id), "the file to be stored")
        stays(lambda: house.request_row(request_id)["status"] != "completed", "not completed without a receipt", 0.5)
        line.light_up()
        house.wait_status(request_id, "completed", timeout_s=40)
    finally:
        config.write_text(original)
        house.receiver.restart()
