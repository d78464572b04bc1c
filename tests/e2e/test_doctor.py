"""`beckon doctor`: a good house has nothing to complain about, and each thing that is planted is found, with its remedy."""

import contextlib
import datetime
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from harness.clock import faketime_library
from harness.house import BIN, write_config
from harness.ports import free_port
from harness.tokens import operator_token, sign
from harness.waiting import SLOWNESS, wait_until

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def house(shared_house):
    shared_house.start()
    return shared_house


def doctor(house, *words, **env):
    """(exit code, {check: [(verdict, message)]}) of beckon doctor --json."""
    done = subprocess.run([BIN / "beckon", "doctor", "--json", *map(str, words)], env=house.cli_environment() | env,
                          cwd=house.folder, capture_output=True, text=True, timeout=60 * SLOWNESS, check=False)
    assert done.stdout.startswith("{"), done.stderr
    answer = json.loads(done.stdout)
    found = {}
    for one in answer["checks"]:
        found.setdefault(one["check"], []).append((one["verdict"], one["message"]))
    assert answer["faults"] == sum(one["verdict"] == "fault" for one in answer["checks"])
    assert (done.returncode == 0) == (answer["faults"] == 0), done
    return done.returncode, found


def complaints(found):
    return {check: said for check, lines in found.items() for verdict, said in lines if verdict != "ok"}


def expect(found, check, *words, verdict="fault"):
    """That check complains, and its sentence has all the words: what is wrong, and the remedy."""
    lines = [said for verdict_of, said in found.get(check, []) if verdict_of == verdict]
    assert lines, f"{check} is no {verdict}: {found}"
    for word in words:
        assert any(word in line for line in lines), f"no '{word}' in {lines}"
    assert all("; " in line for line in lines), f"no remedy in {lines}"


def changed(house, role, section, **keys):
    """A daemon's configuration with some keys changed; None removes one."""
    configs = {"agent": lambda: house.agent_config("restaurant_1", house.agents["restaurant_1"].files,
                                                   house.agents["restaurant_1"].state),
               "receiver": house.receiver_config, "coordinator": house.coordinator_config}
    config = configs[role]()
    config.setdefault(section, {}).update(keys)
    return write_config(house.folder / f"{role}-{os.urandom(3).hex()}.conf", config)


def resigned(house, path, identity, authority="ca", ends=DAY, name=None, hosts=None):
    """The certificate anew, for the same key: with another end, name or hosts."""
    old = x509.load_pem_x509_certificate(identity[0].read_bytes())
    issuer = x509.load_pem_x509_certificate((house.pki.folder / f"{authority}.crt").read_bytes())
    key = serialization.load_pem_private_key((house.pki.folder / "private" / f"{authority}.key").read_bytes(), None)
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)]) if name else old.subject
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject).public_key(old.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(now - 10 * DAY).not_valid_after(now + ends))
    for extension in old.extensions:
        value = extension.value
        if hosts and isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(value, extension.critical)
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


# a house in which all is well


def test_good_house_has_nothing_to_complain_about(house):
    code, found = doctor(house)
    assert code == 0 and complaints(found) == {}
    for check in ("coordinator: name", "coordinator: port", "coordinator: certificate", "coordinator: ready",
                  "coordinator: clock", "token", "token: file", "receiver: port", "receiver: ready", "receiver: clock"):
        assert check in found


@pytest.mark.parametrize("role", ["agent", "receiver", "coordinator"])
def test_good_daemon_has_nothing_to_complain_about(house, role):
    code, found = doctor(house, "--config", changed(house, role, "log"))
    bad = complaints(found)
    if os.environ.get("BECKON_SANITIZE"):
        bad.pop("configuration")  # no sandbox
    assert code == 0 and bad == {}
    assert {"broker: certificate", "broker: our certificate", "[mqtt] key", "[mqtt] cert"} <= set(found)


def test_lines_are_for_people_without_json(house):
    done = house.cli("doctor")
    assert done.returncode == 0
    assert all(line.startswith("ok ") for line in done.stdout.splitlines()[:-1])
    assert done.stdout.splitlines()[-1].endswith("0 faults, 0 warnings")
    done = house.cli("--url", f"https://127.0.0.1:{free_port()}", "doctor")
    assert done.returncode == 1 and "FAULT" in done.stdout and "start the coordinator" in done.stdout


def test_agents_session_is_left_alone(house):
    """A CONNECT under its id would end it: the doctor makes a TLS handshake and no more."""
    before = len(house.agents["restaurant_1"].log_lines("connected to the broker"))
    doctor(house, "--config", house.agents["restaurant_1"].config_path)
    house.wait_status(house.ask("restaurant_1", house.agents["restaurant_1"].file("x", b"x")), "completed")
    assert len(house.agents["restaurant_1"].log_lines("connected to the broker")) == before


# from outside


def test_name_that_does_not_resolve(house):
    _, found = doctor(house, "--url", "https://no-such-host.invalid:8080")
    expect(found, "coordinator: name", "no-such-host.invalid", "--url", "DNS")


def test_port_that_is_closed(house):
    _, found = doctor(house, "--url", f"https://127.0.0.1:{free_port()}")
    expect(found, "coordinator: port", "refused", "start the coordinator")


def test_address_of_another_form(house):
    _, found = doctor(house, "--url", "http://127.0.0.1:1")
    expect(found, "coordinator: address", "https://host:port", "correct --url")


def test_port_without_tls_says_so(house):
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        peer = listener.accept()[0]
        peer.sendall(b"220 hello, no TLS here\r\n")
        peer.close()
    thread = threading.Thread(target=answer)
    thread.start()
    _, found = doctor(house, "--url", f"https://127.0.0.1:{listener.getsockname()[1]}")
    thread.join()
    listener.close()
    expect(found, "coordinator: certificate", "no TLS", "port")


def test_wrong_authority(house):
    _, found = doctor(house, "--ca", house.pki.folder / "devices-ca.crt")
    expect(found, "coordinator: certificate", "devices-ca.crt", "give --ca")


@pytest.fixture
def tls_server(house):
    """serve(certificate) -> port of something with that certificate and the key of receiver.test."""
    listeners = []

    def serve(certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, house.pki.server("receiver.test")[1])
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    peer = listener.accept()[0]
                    with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls:
                        tls.recv(1)
        threading.Thread(target=answer, daemon=True).start()
        return listener.getsockname()[1]
    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_certificate_for_other_names(house, tls_server):
    identity = house.pki.server("receiver.test")
    port = tls_server(resigned(house, house.folder / "other.crt", identity, hosts=["elsewhere.example"]))
    _, found = doctor(house, "--url", f"https://127.0.0.1:{port}")
    expect(found, "coordinator: certificate", "elsewhere.example", "127.0.0.1", "beckon-pki server 127.0.0.1")


def test_certificate_that_has_expired(house, tls_server):
    identity = house.pki.server("receiver.test")
    port = tls_server(resigned(house, house.folder / "ended.crt", identity, ends=-DAY))
    _, found = doctor(house, "--url", f"https://127.0.0.1:{port}")
    expect(found, "coordinator: certificate", "expired", "renew it")


def test_servers_certificate_that_ends_soon(house, tls_server):
    identity = house.pki.server("receiver.test")
    port = tls_server(resigned(house, house.folder / "ends.crt", identity, ends=3.5 * DAY))
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", host="127.0.0.1", port=port))
    expect(found, "broker: certificate", "in 3 days", "renew it", verdict="warning")


def test_users_token_is_good_while_it_lasts(house):
    code, found = doctor(house, "--token-file", operator_token(house, "alice", "restaurant_*", scope="read", ttl="1h"))
    assert code == 0 and complaints(found) == {}
    assert "good for read, user alice" in found["token"][0][1]


def test_expired_token(house):
    claims = {"sub": "late", "scope": "read pull", "clients": ["*"], "exp": int(time.time()) - 60}
    token = house.folder / "late.jwt"
    token.write_text(sign(claims, house.pki.token_key("coordinator"), "beckon-operator+jwt") + "\n")
    token.chmod(0o600)
    code, found = doctor(house, "--token-file", token)
    assert code == 1
    expect(found, "token", "expired", "beckon token create")


def test_unknown_token(house):
    path = house.folder / "unknown.token"
    path.write_text("x" * 40 + "\n")
    path.chmod(0o600)
    _, found = doctor(house, "--token-file", path)
    expect(found, "token", "does not know", "operator_key")


def test_no_token_file(house):
    _, found = doctor(house, "--token-file", house.folder / "nothing")
    expect(found, "token", "can't be read", "--token-file")


def test_token_that_others_may_read(house):
    path = house.folder / "open.token"
    path.write_text(house.token + "\n")
    path.chmod(0o644)
    code, found = doctor(house, "--token-file", path)
    assert code == 0
    expect(found, "token: file", "others", "chmod 600", verdict="warning")


@pytest.mark.skipif(faketime_library() is None, reason="libfaketime is not installed")
@pytest.mark.skipif(bool(os.environ.get("BECKON_SANITIZE")), reason="sanitizers and libfaketime do not go together")
@pytest.mark.parametrize("offset, word", [("+1h", "ahead of"), ("-1h", "behind")])
def test_clock_that_is_an_hour_off(house, offset, word):
    code, found = doctor(house, LD_PRELOAD=faketime_library(), FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1")
    assert code == 1
    if offset == "-1h":  # before the certificates of this run were made
        expect(found, "coordinator: certificate", "not valid yet", "clock")
    else:
        expect(found, "coordinator: clock", " s " + word, "timedatectl")
        # whole seconds on both sides, and the answer's way
        assert any(re.search(rf"\b36(00|0[1-9]|[1-5]\d) s {word}", said) for _, said in found["coordinator: clock"]), found
        expect(found, "receiver: clock", word, "timedatectl")


# on a daemon's machine


def test_mistake_in_the_file_is_told_with_its_line(house):
    _, found = doctor(house, "--config", changed(house, "agent", "agent", queu="7"))
    expect(found, "configuration", ":", "queu", "check the spelling")


def test_key_of_another_certificate(house):
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", key=house.pki.client("restaurant_2")[1]))
    expect(found, "configuration", "is not the private key of")


def test_name_in_the_certificate_is_another(house):
    _, found = doctor(house, "--config", changed(house, "agent", "agent", client_id="restaurant_7"))
    expect(found, "configuration", "restaurant_7", "remove the key or take another certificate")


def test_service_with_somebody_elses_certificate(house):
    cert, key = house.pki.service("operator")
    _, found = doctor(house, "--config", changed(house, "coordinator", "mqtt", cert=cert, key=key))
    expect(found, "[mqtt] cert: name", "operator", "beckon-pki service coordinator")


def test_device_at_the_listener_for_people(house):
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", port=house.people_port))
    expect(found, "broker: our certificate", "refuses", "8883")


def test_brokers_name_does_not_resolve(house):
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", host="no-such-broker.invalid"))
    expect(found, "broker: name", "no-such-broker.invalid", "[mqtt] host")


def test_expired_certificate_of_our_own(house):
    identity = house.pki.client("restaurant_1")
    expired = resigned(house, house.folder / "expired.crt", identity, "devices-ca", ends=-DAY)
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", cert=expired))
    expect(found, "[mqtt] cert", "expired", "beckon-pki")
    expect(found, "broker: our certificate", "refuses", "beckon-pki list")


def test_certificate_that_ends_soon_is_a_warning(house):
    identity = house.pki.client("restaurant_1")
    soon = resigned(house, house.folder / "soon.crt", identity, "devices-ca", ends=9.5 * DAY)
    code, found = doctor(house, "--config", changed(house, "agent", "mqtt", cert=soon))
    assert code == 0
    expect(found, "[mqtt] cert", "in 9 days", "make it anew", verdict="warning")


def test_key_that_others_may_read(house):
    key = house.folder / "open.key"
    key.write_bytes(house.pki.client("restaurant_1")[1].read_bytes())
    key.chmod(0o644)
    _, found = doctor(house, "--config", changed(house, "agent", "mqtt", key=key))
    expect(found, "[mqtt] key", "others", "chmod 600", verdict="warning")


def test_receiver_is_elsewhere(house):
    _, found = doctor(house, "--config", changed(house, "agent", "receiver", url=f"https://127.0.0.1:{free_port()}"))
    expect(found, "receiver: port", "refused", "[receiver] url")
    _, found = doctor(house, "--config", changed(house, "coordinator", "coordinator", receiver_url="https://nowhere.invalid:8443"))
    expect(found, "receiver: name", "nowhere.invalid", "[coordinator] receiver_url")


def test_something_else_is_where_the_receiver_should_be(house):
    _, found = doctor(house, "--config", changed(house, "agent", "receiver", url=house.coordinator_url))
    expect(found, "receiver: our certificate", "refused", "client_ca")


def test_pin_of_another_key(house):
    pin = "sha256//" + "A" * 43 + "="
    _, found = doctor(house, "--config", changed(house, "agent", "receiver", pin=pin))
    expect(found, "receiver: pin", "[receiver] pin", "beckon-pki pin")


def test_folder_that_can_not_be_written(house):
    (house.folder / "a-file").touch()
    _, found = doctor(house, "--config", changed(house, "agent", "agent", state_dir=house.folder / "a-file" / "state"))
    expect(found, "[agent] state_dir", "can't be written", "chown")
    _, found = doctor(house, "--config", changed(house, "receiver", "receiver", store=house.folder / "a-file" / "store"))
    expect(found, "[receiver] store", "can't be written", "chown")


def test_disk_without_room(house):
    _, found = doctor(house, "--config", changed(house, "receiver", "limits", free_space_floor="8000T"))
    expect(found, "[receiver] store", "free", "free_space_floor")


def test_allowed_folder_that_is_missing(house):
    _, found = doctor(house, "--config", changed(house, "agent", "files", allow=house.folder / "gone"))
    expect(found, "[files] allow", "gone", "make the folder")


def test_nothing_allowed_is_a_warning(house):
    _, found = doctor(house, "--config", changed(house, "agent", "files", allow=None))
    expect(found, "[files] allow", "empty", "list the folders", verdict="warning")


def revocations(house, path, ends):
    lists = b""
    for authority in ("ca", "devices-ca"):
        issuer = x509.load_pem_x509_certificate((house.pki.folder / f"{authority}.crt").read_bytes())
        key = serialization.load_pem_private_key((house.pki.folder / "private" / f"{authority}.key").read_bytes(), None)
        now = datetime.datetime.utcnow()
        lists += (x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(now - 10 * DAY)
                  .next_update(now + ends).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    path.write_bytes(lists)
    return path


def test_expired_revocation_list(house):
    crl = revocations(house, house.folder / "old.crl", -DAY)
    _, found = doctor(house, "--config", changed(house, "receiver", "receiver", crl=crl))
    expect(found, "[receiver] crl", "expired", "clients.crl")


def test_revocation_list_of_another_authority(house):
    _, found = doctor(house, "--config", changed(house, "receiver", "receiver", client_ca=house.pki.folder / "ca.crt"))
    expect(found, "[receiver] crl", "no authority", "clients.crt")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as somebody else")
def test_as_another_user_what_only_root_may_is_found(house):
    house.folder.chmod(0o755)
    house.pki.folder.parent.chmod(0o755)
    _, found = doctor(house, "--config", changed(house, "agent", "log"), "--user", "nobody")
    assert found["user"] == [("ok", "looking as nobody")]
    expect(found, "configuration", "client.key", "[mqtt] key")
    house.folder.chmod(0o700)


def test_unknown_user_and_unknown_daemon_are_usage(house):
    path = changed(house, "agent", "log")
    assert house.cli("doctor", "--config", path, "--user", "no-such-user").returncode == 2
    assert "whose is it" in house.cli("doctor", "--config", "/etc/hosts").stderr


# parts that do not run


def test_daemons_that_do_not_run(house):
    config = changed(house, "receiver", "receiver", port=free_port())
    _, found = doctor(house, "--config", config)
    expect(found, "running", "nothing listens", "systemctl start beckon-receiver")


def test_broker_that_is_down(house):
    """Last: it stops the broker that all share."""
    house.broker.stop()
    house.coordinator.wait_log("broker")
    wait_until(lambda: house.api().request("GET", "/readyz").status == 503, "the coordinator to notice")
    _, found = doctor(house)
    expect(found, "coordinator: ready", "not connected to the broker", "beckon doctor --config /etc/beckon/coordinator.conf")
    _, found = doctor(house, "--config", changed(house, "agent", "log"))
    expect(found, "broker: port", "refused", "start the broker")
