"""File systems of the campaign's own, in a file on a loop device, whose power can be cut (Linux, root only)."""

import ctypes
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import time

CLONE_NEWNS = 0x00020000
FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what was not on the disk by itself is gone: not even the journal in memory is written
SIZES_MB = {"ext4": 192, "xfs": 320}
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "xfs": ["mkfs.xfs", "-q", "-f"]}
SEARCH = "/usr/sbin:/sbin:/usr/bin:/bin"
ENVIRONMENT = {"PATH": SEARCH}


class Disk:
    def __init__(self, folder, kind, name="disk"):
        own_mounts()
        self.kind = kind
        self.image = folder / f"{name}.{kind}.image"
        self.mount_point = folder / f"{name}.{kind}"
        self.mount_point.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(SIZES_MB[kind] << 20)
        run(*MAKE[kind], str(self.image))
        self.mounted = False
        self.mount()

    @staticmethod
    def why_not(kind, folder):
        """None, or the reason why this machine can't."""
        if os.geteuid() != 0:
            return "needs root"
        if not shutil.which(MAKE[kind][0], path=SEARCH):
            return f"needs {MAKE[kind][0]}"
        try:
            disk = Disk(folder, kind, "probe")
            disk.cut_power()
            disk.close()
        except (subprocess.CalledProcessError, OSError) as error:
            return f"{kind} on a loop device can't be mounted and shut down here ({error})"
        return None

    def mount(self):
        run("mount", "-o", "loop", "-t", self.kind, str(self.image), str(self.mount_point))
        self.mounted = True

    def cut_power(self):
        """From now on nothing reaches the disk; programs that use it get EIO."""
        fd = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore_power(self):
        """As a boot does: the file system repairs itself from its journal. Nobody may use it any more."""
        self.unmount()
        self.mount()

    def unmount(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                run("umount", str(self.mount_point))
                break
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # a process that was killed is still on its way out
        self.mounted = False

    def close(self):
        if self.mounted:
            self.unmount()
        self.mount_point.rmdir()
        self.image.unlink()


@functools.cache
def own_mounts():
    """Moves this process, and all that it starts, into a mount namespace of its own. Whoever else makes a namespace meanwhile
    would copy the mount into it: after the unmount the file system would still be there, without power, and the next mount
    would get that one."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rprivate", "/")


def run(*words):
    subprocess.run(words, check=True, env=ENVIRONMENT, capture_output=True, stdin=subprocess.DEVNULL)
