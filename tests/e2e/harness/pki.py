"""Certificates and token keys, made by the script that users have: broker-config/pki."""

import datetime
import shutil
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "broker-config" / "pki"


class Pki:
    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def make(cls, folder):
        pki = cls(folder)
        pki.run("init")
        return pki

    def copy(self, folder):
        """One of the caller's own, to revoke in."""
        shutil.copytree(self.folder, folder)
        return Pki(folder)

    def run(self, *words):
        result = subprocess.run([SCRIPT, "--dir", self.folder, *words], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"pki {' '.join(words)}: {result.stderr}"

    @property
    def ca(self):
        """What everybody verifies servers with."""
        return self.folder / "ca.crt"

    def server(self, name):
        """(certificate, key) of a server on the loopback."""
        return self._identity("server", name, "server", "127.0.0.1", "localhost")

    def client(self, name):
        """(certificate, key) of a device."""
        return self._identity("client", name, "client")

    def make_fleet(self, names):
        """Devices by the thousand: certificates as the script makes them, in a millisecond each, and one key for all."""
        issuer = x509.load_pem_x509_certificate((self.folder / "devices-ca.crt").read_bytes())
        issuer_key = serialization.load_pem_private_key((self.folder / "private" / "devices-ca.key").read_bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for name in names:
            entry = self.folder / "client" / name
            if entry.exists():
                continue
            entry.mkdir()
            certificate = device_certificate(name, key.public_key(), issuer).sign(issuer_key, hashes.SHA256())
            (entry / "client.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            (entry / "client.key").write_bytes(pem)

    def service(self, name):
        """(certificate, key) of the coordinator, the receiver, or a person."""
        return self._identity("service", name, "client")

    def token_key(self, name):
        if not (self.folder / f"{name}-token.key").exists():
            self.run("token-key", name)
        return self.folder / f"{name}-token.key"

    def token_public(self, name):
        self.token_key(name)
        return self.folder / f"{name}-token.pub"

    def _identity(self, kind, name, file, *names):
        entry = self.folder / kind / name
        if not entry.exists():
            self.run(kind, name, *names)
        return entry / f"{file}.crt", entry / f"{file}.key"


def device_certificate(name, key, issuer):
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
                           "crl_sign", "encipher_only", "decipher_only"), False)
    authority = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer.subject).public_key(key).serial_number(x509.random_serial_number())
            .not_valid_before(issuer.not_valid_before)
            .not_valid_after(issuer.not_valid_before + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False))
