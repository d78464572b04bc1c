"""A network namespace of the test's own, where packets can vanish as in the real world."""

import ctypes
import os
import shutil
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


def run(*words):
    subprocess.run(words, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
