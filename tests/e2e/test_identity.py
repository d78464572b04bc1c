"""Who is who: certificates and what they are good for, at the broker and at the receiver."""

import datetime
import re
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import temporary_folder
from harness.house import command_payload
from harness.https import tls_context
from harness.observer import Observer
from harness.pki import Pki
from harness.waiting import stays, wait_until

UPLOAD = "/v1/uploads/x1"
REFUSALS = (ssl.SSLError, ConnectionError, EOFError)


@pytest.fixture(scope="module")
def shared(shared_house):
    return shared_house.start(agents=("restaurant_1", "restaurant_2"))


@pytest.fixture(scope="module")
def strangers():
    """A public key infrastructure of somebody else, with the same names in it."""
    with temporary_folder() as path:
        yield Pki.make(path / "pki")


def clear_lines(daemon, pattern):
    """The lines for a person: not those of level debug."""
    return [line for line in daemon.log_lines(pattern) if not re.search(r"\bdebug\b", line[:60], re.IGNORECASE)]


def refused_by_receiver(house, identity):
    """True if the receiver ends the handshake or answers 401 or 403; False if it takes the upload."""
    try:
        status = house.https(identity).request("PUT", UPLOAD, b"data").status
    except REFUSALS:
        return True
    assert status in (201, 401, 403), status
    return status != 201


def refused_by_broker(house, port, identity):
    try:
        observer = Observer(port, house.pki.ca, identity)
    except REFUSALS:
        return True
    observer.close()
    assert observer.connect_result == 0
    return False


# the agent's and the receiver's side


@pytest.mark.parametrize("wrong", ["ca", "client certificate", "server certificate"])
def test_agent_with_wrong_certificates_never_connects_and_says_why(shared, strangers, wrong):
    name = f"wrong-{wrong.replace(' ', '-')}"
    broker = {"ca": {"ca": strangers.ca},
              "client certificate": dict(zip(("cert", "key"), strangers.client(name))),
              "server certificate": dict(zip(("cert", "key"), shared.pki.server(name)))}[wrong]
    agent = shared.start_agent(name, {"agent": {"client_id": name}, "mqtt": broker}, wait=False)
    agent.wait_log(r"(?i)broker.*(certificate|tls|ssl|alert|refused|handshake)")
    stays(lambda: not agent.log_lines("connected to the broker"), "not connected", 1)
    lines = clear_lines(agent, r"(?i)certificate|tls|ssl|alert|refused|handshake")
    assert 1 <= len(lines) <= 2, f"one clear line, not one a try: {lines}"
    assert shared.api().request("GET", f"/clients/{name}").status == 404
    agent.stop()


def test_agent_sends_nothing_to_a_receiver_with_a_strange_certificate(shared, strangers, pki):
    name = "careful"
    agent = shared.start_agent(name, {"receiver": {"ca": strangers.ca}})
    operator = shared.observer()
    operator.publish(f"beckon/v1/{name}/cmd/upload/strange", command_payload(agent.file("x", b"secret")))
    agent.wait_log(r"(?i)certificate|ssl|tls")
    stays(lambda: not any(message["state"] == "done" for message in operator.on(f"beckon/v1/{name}/status/strange")),
          "not done", 0.5)
    assert shared.stored(name, "strange") is None
    operator.publish(f"beckon/v1/{name}/cmd/cancel/strange", {})
    operator.wait_for(f"beckon/v1/{name}/status/strange", lambda message: message.get("error", {}).get("reason") == "CANCELLING")
    agent.stop()


@pytest.mark.parametrize("whose", ["stranger's", "server's", "none"])
def test_receiver_refuses_certificates_that_are_no_clients(shared, strangers, pki, whose):
    identity = {"stranger's": strangers.client("restaurant_1"), "server's": pki.server("restaurant_1"), "none": None}[whose]
    known = len(clear_lines(shared.receiver, r"(?i)certificate"))
    before = shared.stored_files()
    assert refused_by_receiver(shared, identity)
    assert shared.stored_files() == before
    if identity:
        wait_until(lambda: len(clear_lines(shared.receiver, r"(?i)certificate")) > known, "a clear line in the receiver's log")
        assert len(clear_lines(shared.receiver, r"(?i)certificate")) == known + 1
    assert not refused_by_receiver(shared, pki.client("restaurant_1"))


def forged(pki, folder, *names):
    """A certificate with these CNs that the devices' authority really signed: pki itself would not."""
    key, begin = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2020, 1, 1)
    authority = x509.load_pem_x509_certificate((pki.folder / "devices-ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki.folder / "private" / "devices-ca.key").read_bytes(), None)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False) for name in names])
    certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(authority.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(36500))
                   .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False).sign(signer, hashes.SHA256()))
    files = folder / "forged.crt", folder / "forged.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


@pytest.mark.parametrize("names", [
    ("..",), (".",), ("",), ("/",), ("a/b",), ("../restaurant_1",), ("restaurant_1/x",), ("+",), ("#",), ("a#",), ("x" * 65,), ("x" * 1000,), ("a b",), (" restaurant_1",),
    ("restaurant_1 ",), ("restaurant_1\x00x",), ("restaurant_1\n",), ("-a",), (".a",), ("_a",), ("é",), ("a\\b",), ("a%2fb",), ("a:b",), ("restaurant_1", "restaurant_2"), (),
    ("coordinator",), ("receiver",), ("operator",)], ids=repr)
def test_no_certificate_whose_name_is_not_one_clients_id_uploads(shared, pki, folder, names):
    before = sorted(shared.store.rglob("*"))
    try:
        identity = forged(pki, folder, *names)
        answer = shared.https(identity).request("PUT", UPLOAD, b"data")
    except (ValueError, *REFUSALS):  # it can't even be made, or not shown
        answer = None
    assert answer is None or answer.status in (401, 403), answer
    assert sorted(shared.store.rglob("*")) == before


@pytest.mark.parametrize("listener", ["devices", "people"])
@pytest.mark.parametrize("whose", ["stranger's", "server's", "other listener's"])
def test_broker_refuses_certificates_that_are_not_for_that_listener(shared, strangers, pki, listener, whose):
    port = shared.devices_port if listener == "devices" else shared.people_port
    right, stranger, other = {
        "devices": (pki.client("tester"), strangers.client("tester"), pki.service("operator")),
        "people": (pki.service("operator"), strangers.service("operator"), pki.client("tester")),
    }[listener]
    identity = {"stranger's": stranger, "server's": pki.server("tester"), "other listener's": other}[whose]
    lines = len(shared.broker.log().splitlines())
    assert refused_by_broker(shared, port, identity)
    wait_until(lambda: any(re.search("(?i)ssl|certificate|error", line) for line in shared.broker.log().splitlines()[lines:]),
               "a line in the broker's log")
    assert not refused_by_broker(shared, port, right)


@pytest.mark.parametrize("listener", ["devices", "people"])
def test_broker_refuses_a_client_without_a_certificate(shared, listener):
    port = shared.devices_port if listener == "devices" else shared.people_port
    connect = bytes.fromhex("100e00044d5154540402003c00026162")  # MQTT 3.1.1, client id "ab"
    try:
        raw = socket.create_connection(("127.0.0.1", port), 10)
        with tls_context(shared.pki.ca).wrap_socket(raw, server_hostname="localhost") as stream:
            stream.sendall(connect)
            answer = stream.recv(4)
    except REFUSALS:
        answer = b""
    assert answer == b""


# devices among each other


@pytest.fixture
def intruder(shared, pki):
    """A device of the house that speaks MQTT with a client of its own."""
    observers = []

    def connect(client_id=""):
        observers.append(Observer(shared.devices_port, pki.ca, pki.client("intruder"), client_id=client_id))
        return observers[-1]
    yield connect
    for observer in observers:
        observer.close()


def test_device_hears_only_its_own_commands(shared, intruder):
    spy = intruder()
    for topic in ("beckon/v1/restaurant_1/cmd/#", "beckon/v1/+/cmd/#", "beckon/#", "#", "$SYS/#",
                  "beckon/v1/restaurant_1/status/#", "beckon/v1/intruder/cmd/#"):
        spy.subscribe(topic)
    operator = shared.observer()
    path = shared.agents["restaurant_1"].file("private", b"private")
    operator.publish("beckon/v1/restaurant_1/cmd/upload/private", command_payload(path))
    operator.wait_for("beckon/v1/restaurant_1/receipt/private")
    operator.publish("beckon/v1/intruder/cmd/upload/own", command_payload("/x"))
    spy.wait_for("beckon/v1/intruder/cmd/upload/own")
    assert {topic for topic, _ in spy.messages} == {"beckon/v1/intruder/cmd/upload/own"}


def test_device_speaks_only_for_itself(shared, intruder):
    operator = shared.observer(subscribe=("beckon/v1/#",))
    liar = intruder()
    for topic in ("beckon/v1/restaurant_1/status/lie", "beckon/v1/restaurant_1/presence", "beckon/v1/restaurant_1/receipt/lie",
                  "beckon/v1/restaurant_1/cmd/upload/lie", "beckon/v1/restaurant_1/cmd/cancel/lie", "beckon/v1/restaurant_1/cmd/receipt/lie", "beckon/v1/intruder/cmd/upload/lie", "beckon/v1/intruder/receipt/lie"):
        liar.publish(topic, {"state": "done", "online": False, "path": "/x", "receipt": "x"})
    liar.publish("beckon/v1/intruder/status/truth", {"state": "failed", "path": "/x"})
    operator.wait_for("beckon/v1/intruder/status/truth")
    heard = {topic for topic, payload in operator.messages if b"lie" in topic.encode() or b'"path": "/x"' in payload}
    assert heard == {"beckon/v1/intruder/status/truth"}
    assert shared.api().request("GET", "/clients/restaurant_1").json()["online"] is True


def test_device_can_not_take_over_another_ones_session(shared, intruder):
    victim = shared.agents["restaurant_2"]
    thief = intruder(client_id="restaurant_2")
    thief.subscribe("beckon/v1/restaurant_2/cmd/#")
    operator = shared.observer()
    path = victim.file("kept", b"kept")
    operator.publish("beckon/v1/restaurant_2/cmd/upload/kept", command_payload(path))
    operator.wait_for("beckon/v1/restaurant_2/receipt/kept")
    assert not victim.log_lines("(?i)disconnected|trying again")
    assert thief.messages == []


def test_device_can_neither_see_nor_change_another_ones_incomplete_upload(shared, pki):
    path = "/v1/uploads/shared-id"
    mine, theirs = shared.https(pki.client("restaurant_1")), shared.https(pki.client("intruder"))
    half = {"Upload-Complete": "?0", "Upload-Length": "8"}
    resume = {"Content-Type": "application/partial-upload", "Upload-Offset": "4", "Upload-Complete": "?1"}
    assert mine.request("PUT", path, b"mine", half).status == 201
    for method, body, headers in (("HEAD", None, {}), ("GET", None, {}), ("DELETE", None, {}), ("PATCH", b"evil", resume)):
        assert theirs.request(method, path, body, headers).status == 404, method
        assert theirs.request(method, path + "?client=restaurant_1", body, headers).status == 404, method
    assert theirs.request("PUT", path, b"evil", half).status == 201  # an upload of their own
    assert theirs.request("DELETE", path).status == 204
    assert mine.request("HEAD", path)["Upload-Offset"] == "4"
    assert mine.request("PATCH", path, b"mine", resume).status == 200
    assert shared.stored("restaurant_1", "shared-id").read_bytes() == b"minemine" and shared.stored("intruder", "shared-id") is None


def test_operator_can_neither_read_commands_nor_forge_receipts(shared):
    operator = shared.observer(subscribe=("beckon/v1/+/cmd/#", "#", "beckon/v1/+/receipt/+", "beckon/v1/+/status/+"))
    operator.publish("beckon/v1/restaurant_1/receipt/forged", {"receipt": "x"})
    operator.publish("beckon/v1/restaurant_1/status/forged", {"state": "done"})
    path = shared.agents["restaurant_1"].file("true", b"true")
    operator.publish("beckon/v1/restaurant_1/cmd/upload/true", command_payload(path))
    operator.wait_for("beckon/v1/restaurant_1/receipt/true")
    assert not [topic for topic, _ in operator.messages if "/cmd/" in topic or topic.endswith("forged")]


# revocation: in a house with an authority of its own


def test_revoked_certificate_is_refused_by_receiver_and_broker(house, folder):
    house.pki = Pki.make(folder / "own-pki")
    house.start(agents=("restaurant_1", "restaurant_2"))
    revoked = [folder / "kept.crt", folder / "kept.key"]
    for copy, original in zip(revoked, house.pki.client("restaurant_1")):
        copy.write_bytes(original.read_bytes())
    assert not refused_by_receiver(house, revoked)

    house.agents["restaurant_1"].stop()
    assert not refused_by_broker(house, house.devices_port, revoked)
    house.pki.run("revoke", "client/restaurant_1")
    wait_until(lambda: refused_by_receiver(house, revoked), "the receiver to have read the new list")
    wait_until(lambda: clear_lines(house.receiver, "(?i)revoked"), "a clear line in the receiver's log")
    assert not refused_by_receiver(house, house.pki.client("restaurant_2"))

    house.broker.restart()
    assert refused_by_broker(house, house.devices_port, revoked)
    house.broker.wait_log("(?i)revoked|certificate|ssl")
    house.agents["restaurant_2"].wait_log("connected to the broker", count=2)
    house.wait_online("restaurant_2")
