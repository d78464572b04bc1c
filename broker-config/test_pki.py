"""What broker-config/pki promises, tried with the openssl that it is made of. The broker's and the receiver's side of it is in tests/e2e."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("pki")


class Pki:
    def __init__(self, folder):
        self.folder = folder

    def run(self, *words, environment=None):
        return subprocess.run([SCRIPT, "--dir", self.folder, *words], capture_output=True, text=True, check=False,
                              env={**os.environ, **(environment or {})})

    def does(self, *words, environment=None):
        result = self.run(*words, environment=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refuses(self, why, *words):
        result = self.run(*words)
        assert result.returncode == 1, (words, result.stdout)
        assert why in result.stdout + result.stderr

    def verifies(self, authority, certificate, *options):
        result = openssl("verify", "-x509_strict", "-no-CApath", "-CAfile", self.folder / f"{authority}.crt", *options,
                         self.folder / certificate)
        return result.returncode == 0

    def contents(self):
        return {path: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"}


def openssl(*words):
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def pki(tmp_path):
    pki = Pki(tmp_path / "pki")
    pki.does("init")
    return pki


def test_init_makes_two_authorities_with_empty_lists_and_token_keys(pki):
    for name in ("ca", "devices-ca"):
        listing = openssl("crl", "-in", pki.folder / f"{name}.crl", "-CAfile", pki.folder / f"{name}.crt", "-noout", "-text")
        assert "verify OK" in listing.stderr
        assert "No Revoked Certificates" in listing.stdout
    assert (pki.folder / "clients.crt").read_text().count("BEGIN") == 2
    assert (pki.folder / "clients.crl").read_text().count("BEGIN") == 2
    assert "ED25519" in openssl("pkey", "-in", pki.folder / "receiver-token.key", "-noout", "-text").stdout
    assert (pki.folder / "coordinator-token.pub").exists()
    pki.does("check")


def test_nothing_is_ever_overwritten(pki):
    commands = (["client", "restaurant_1"], ["server", "receiver"], ["service", "operator"], ["token-key", "next"])
    for command in commands:
        pki.does(*command)
    before = pki.contents()
    for command in commands:
        pki.refuses("never overwritten", *command)
    pki.refuses("pki revoke client/restaurant_1", "client", "restaurant_1")
    pki.refuses("never overwritten", "init")
    assert pki.contents() == before


def test_each_certificate_serves_one_purpose_under_one_authority(pki):
    pki.does("client", "restaurant_1")
    pki.does("service", "operator")
    pki.does("server", "receiver", "10.0.0.1", "::1", "receiver.example.org")
    kinds = {"client/restaurant_1/client.crt": ("devices-ca", "sslclient"), "service/operator/client.crt": ("ca", "sslclient"),
             "server/receiver/server.crt": ("ca", "sslserver")}
    for certificate, right in kinds.items():
        for authority in ("ca", "devices-ca"):
            for purpose in ("sslclient", "sslserver"):
                assert pki.verifies(authority, certificate, "-purpose", purpose) == ((authority, purpose) == right)
        text = openssl("x509", "-in", pki.folder / certificate, "-noout", "-text").stdout
        assert "NIST CURVE: P-256" in text
    for option, name in (("-verify_hostname", "receiver"), ("-verify_hostname", "receiver.example.org"), ("-verify_ip", "10.0.0.1"),
                         ("-verify_ip", "::1")):
        assert pki.verifies("ca", "server/receiver/server.crt", option, name)
    assert not pki.verifies("ca", "server/receiver/server.crt", "-verify_hostname", "other")


def test_device_gets_the_key_that_it_checks_tickets_with(pki):
    pki.does("client", "restaurant_1")
    pki.does("service", "operator")
    copy = pki.folder / "client/restaurant_1/coordinator-token.pub"
    assert copy.read_bytes() == (pki.folder / "coordinator-token.pub").read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o644
    assert not (pki.folder / "service/operator/coordinator-token.pub").exists()


def test_keys_are_their_owners_only(pki):
    pki.does("client", "restaurant_1")
    pki.does("server", "receiver")
    keys = list(pki.folder.rglob("*.key"))
    assert len(keys) == 6
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert (pki.folder / "private").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a/b", "a+b", "a#b", "..", ".hidden", "_x", "", "a b", "a\nb", "a,CN=b", "é", "a" * 65])
def test_name_that_could_reach_a_topic_or_a_path_is_refused(pki, name):
    for kind in ("client", "service", "server", "token-key"):
        pki.refuses("can't be a name", kind, name)


def test_reserved_names_and_names_of_others_are_refused(pki):
    for name in ("coordinator", "receiver", "operator"):
        pki.refuses("is reserved", "client", name)
        pki.does("service", name)
    pki.does("client", "restaurant_1")
    pki.refuses("a device's name", "service", "restaurant_1")
    pki.does("service", "alice")
    pki.refuses("can't share it", "client", "alice")
    pki.does("client", "a" * 64)


def test_server_name_can_not_smuggle_in_another(pki):
    for name in ("DNS:x,IP:1.2.3.4", "x,DNS:y", "*", "a\nb"):
        pki.refuses("neither a host name", "server", "broker", name)
    assert not (pki.folder / "server" / "broker").exists()


def test_revoked_certificate_is_on_the_lists_and_its_name_is_free(pki):
    pki.does("client", "restaurant_1")
    pki.does("client", "restaurant_2")
    pki.does("revoke", "restaurant_1")
    old = next(pki.folder.glob("revoked/client-restaurant_1-*/client.crt")).relative_to(pki.folder)
    assert pki.verifies("devices-ca", old)
    for crl in ("devices-ca.crl", "clients.crl"):
        assert not pki.verifies("devices-ca", old, "-crl_check", "-CRLfile", pki.folder / crl)
        assert pki.verifies("devices-ca", "client/restaurant_2/client.crt", "-crl_check", "-CRLfile", pki.folder / crl)
    pki.refuses("no certificate", "revoke", "restaurant_1")
    pki.does("client", "restaurant_1")
    assert pki.verifies("devices-ca", "client/restaurant_1/client.crt", "-crl_check", "-CRLfile", pki.folder / "clients.crl")
    pki.does("check")
    states = [line.split()[:3] for line in pki.does("list").splitlines()]
    assert ["client", "restaurant_1", "valid"] in states
    assert ["client", "restaurant_1", "revoked"] in states


def test_revoke_of_a_name_with_two_meanings_asks_which(pki):
    pki.does("server", "receiver")
    pki.does("service", "receiver")
    pki.refuses("server/receiver service/receiver", "revoke", "receiver")
    pki.does("revoke", "service/receiver")
    pki.does("revoke", "receiver")


def test_interrupted_run_leaves_nothing_half_made(pki, tmp_path):
    fatal = tmp_path / "bin" / "sync"  # the last step before the rename dies, as of a kill
    fatal.parent.mkdir()
    fatal.write_text("#!/bin/sh\nkill -9 $PPID\n")
    fatal.chmod(0o755)
    before = pki.contents()
    assert pki.run("client", "x", environment={"PATH": f"{fatal.parent}:{os.environ['PATH']}"}).returncode != 0
    assert list(pki.folder.glob("client/*")) == []
    pki.does("check")  # sweeps up
    assert pki.contents() == before
    pki.does("client", "x")


def test_parallel_runs_wait_for_each_other(pki):
    runs = [subprocess.Popen([SCRIPT, "--dir", pki.folder, "client", "same" if number % 2 else f"own_{number}"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for number in range(6)]
    assert sorted(run.wait() for run in runs) == [0, 0, 0, 0, 1, 1]
    pki.does("check")


def test_check_names_what_is_wrong(pki):
    for name in ("a", "b"):
        pki.does("client", name)
    a, b = pki.folder / "client" / "a", pki.folder / "client" / "b"
    (a / "client.key").chmod(0o644)
    pki.refuses("client/a/client.key has mode 644", "check")
    (a / "client.key").chmod(0o600)
    (a / "client.crt").write_bytes((b / "client.crt").read_bytes())
    pki.refuses("does not name a and only that", "check")
    pki.refuses("client/a/client.key is not the key of", "check")
    (pki.folder / "clients.crl").write_bytes((pki.folder / "ca.crl").read_bytes())
    pki.refuses("clients.crl is not", "check")


def test_the_machines_openssl_configuration_has_no_say(pki, tmp_path):
    broken = tmp_path / "openssl.cnf"
    broken.write_text("openssl_conf = main\n[main]\nproviders = nowhere\n[req]\ndefault_bits = x\n")
    pki.does("client", "x", environment={"OPENSSL_CONF": str(broken)})
