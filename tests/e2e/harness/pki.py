"""Certificates and token keys, made by the script that users have: broker-config/pki."""

import shutil
import subprocess
from pathlib import Path

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
