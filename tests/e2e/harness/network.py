"""Networks as bad as the real world's: a namespace of the test's own where packets vanish, and a name server that is silent."""

import contextlib
import ctypes
import os
import random
import shutil
import socket
import subprocess

CLONE_NEWNET = 0x40000000


class OwnNetwork:
    """Moves this thread, and so every process that it starts, into a new namespace with a loopback; and back in the end."""

    def __init__(self):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    @staticmethod
    def why_not():
        """None, or the reason why this machine can't."""
        for tool in ("ip", "nft"):
            if not shutil.which(tool, path="/usr/sbin:/sbin:" + os.environ.get("PATH", "")):
                return f"needs {tool}"
        probe = subprocess.run(["unshare", "--net", "nft", "add table inet probe"], capture_output=True, check=False,
                               env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
        return None if probe.returncode == 0 else "needs the right to make network namespaces and nftables rules"

    def __enter__(self):
        if self._libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        run("ip", "link", "set", "lo", "up")
        run("nft", "add table inet hole; add chain inet hole in { type filter hook input priority 0; }")
        return self

    def __exit__(self, *_):
        self._libc.setns(self._before, CLONE_NEWNET)
        os.close(self._before)

    def black_hole(self, port):
        """Every packet from and to the port vanishes, those of open connections too."""
        run("nft", f"add rule inet hole in tcp dport {port} drop; add rule inet hole in tcp sport {port} drop")

    def heal(self):
        run("nft", "flush chain inet hole in")


class OwnNames:
    """/etc/hosts of the programs' own that are started behind its prefix. What it does not know they ask a name server that
    never answers, and go on asking for minutes."""

    def __init__(self, folder):
        self._hosts = folder / "hosts"
        self._resolv = folder / "resolv.conf"
        self._server = silent_name_server()
        address = self._server.getsockname()[0]
        self._resolv.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
        self.know()
        # bound over the system's files in a mount namespace of the program's own, which keeps its pid
        bind = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        self.prefix = ["unshare", "--mount", "sh", "-c", bind, self._hosts, self._resolv]

    @staticmethod
    def why_not():
        """None, or the reason why this machine can't."""
        probe = subprocess.run(["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True,
                               check=False)
        return None if probe.returncode == 0 and os.geteuid() == 0 else "needs root and the right to make mount namespaces"

    def know(self, *names):
        """From now on these are on the loopback, and no others are known."""
        self._hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in names))

    def asked(self, name):
        """Whether somebody has asked for it since the last time, and waits."""
        questions = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                questions += self._server.recv(4096)
        return b"".join(len(part).to_bytes(1, "big") + part for part in name.encode().split(b".")) in questions

    def close(self):
        self._server.close()


def silent_name_server():
    """On the one port for it, so at a loopback address that nobody else has."""
    while True:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            server.bind((f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}", 53))
        except OSError:
            server.close()
            continue
        server.setblocking(False)
        return server


def run(*words):
    subprocess.run(words, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
