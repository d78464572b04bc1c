"""A request is complete when the receiver has signed for it: nobody else's word completes it, and a lost receipt is found."""

import hashlib
import os
import time

import pytest

from harness.house import command_payload
from harness.proxy import Proxy
from harness.tokens import sign, unsigned, verify, with_claims
from harness.waiting import stays, wait_until


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start(agents=("restaurant_1", "restaurant_2"))
    return shared_house


def true_receipt(house, operator, upload):
    """A real upload's receipt message."""
    path = house.agents["restaurant_2"].file(upload, upload.encode())
    operator.publish(f"beckon/v1/restaurant_2/cmd/upload/{upload}", command_payload(path))
    return operator.wait_for(f"beckon/v1/restaurant_2/receipt/{upload}")


@pytest.mark.parametrize("forgery", ["operator-like key", "other key with the true kid", "alg none", "coordinator's key",
                                     "claims changed", "another upload's", "another client's", "wrong typ", "no token"])
def test_forged_receipt_completes_nothing(house, pki, forgery):
    operator = house.observer()
    agent = house.agents["restaurant_1"]
    agent.stop()  # so the request stays open
    try:
        request_id = house.ask("restaurant_1", agent.files / "wanted")
        true = true_receipt(house, operator, "true-" + forgery.replace(" ", "-").replace("'", ""))
        import jwt
        kid = jwt.get_unverified_header(true["receipt"]).get("kid")
        typ = "beckon-receipt+jwt"
        claims = {"sub": "restaurant_1", "jti": request_id, "path": str(agent.files / "wanted"), "size": 4,
                  "sha256": hashlib.sha256(b"fake").hexdigest(), "iat": int(time.time()), "iss": "receiver"}
        token = {
            "operator-like key": lambda: sign(claims, pki.token_key("somebody"), typ),
            "other key with the true kid": lambda: sign(claims, pki.token_key("somebody"), typ, kid),
            "alg none": lambda: unsigned(claims, typ),
            "coordinator's key": lambda: sign(claims, pki.token_key("coordinator"), typ),
            "claims changed": lambda: with_claims(true["receipt"], sub="restaurant_1", jti=request_id),
            "another upload's": lambda: true["receipt"],
            "another client's": lambda: sign({**claims, "sub": "restaurant_2"}, pki.token_key("receiver"), typ, kid),
            "wrong typ": lambda: sign(claims, pki.token_key("receiver"), "beckon-ticket+jwt", kid),
            "no token": lambda: "",
        }[forgery]()
        # even the receiver's place on the broker does not help: this is what a broker that lies could do
        liar = house.observer("receiver", subscribe=())
        known = len(house.coordinator.log())
        liar.publish(f"beckon/v1/restaurant_1/receipt/{request_id}", {**true, "receipt": token})
        wait_until(lambda: "receipt" in house.coordinator.log()[known:], "the coordinator to say what it thinks of it")
        true_receipt(house, operator, "after-" + forgery.replace(" ", "-").replace("'", ""))
        wait_until(lambda: any(row["requestId"].startswith("after-" + forgery.split()[0].replace("'", "")) and
                               row["status"] == "completed" for row in house.downloads()), "the coordinator to be past it")
        assert house.request_row(request_id)["status"] == "queued"
    finally:
        agent.start()
    row = house.wait_status(request_id, "rejected")  # the agent has no such file
    assert row["error"]["code"] == "not_found"


def test_agents_word_alone_completes_nothing(house, pki):
    agent = house.agents["restaurant_1"]
    agent.stop()
    try:
        request_id = house.ask("restaurant_1", "/x")
        from harness.observer import Observer
        device = house.closing(Observer(house.devices_port, pki.ca, pki.client("restaurant_1")))
        device.publish(f"beckon/v1/restaurant_1/status/{request_id}",
                       {"state": "done", "path": "/x", "size": 4, "sent": 4, "sha256": "0" * 64, "attempt": 1, "at": "2026-01-01T00:00:00.000Z"})
        wait_until(lambda: house.request_row(request_id)["status"] != "queued", "the coordinator to hear it")
        stays(lambda: house.request_row(request_id)["status"] not in ("completed", "failed"), "not completed", 0.5)
        device.close()
    finally:
        agent.start()
    house.wait_status(request_id, "rejected", "failed")


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
