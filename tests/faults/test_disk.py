"""The disks whose power is cut are a tool of the campaign: it must do what it says, whatever else runs on the machine."""

import subprocess

import pytest
from engine.disk import Disk

# Started before there is a disk, as other tests are; makes its namespace when it is told to.
LATER = ["sh", "-c", "read _ && exec unshare --mount sh -c 'echo made && read _'"]


def test_who_copies_the_mounts_meanwhile_does_not_keep_the_disk_without_power(tmp_path):
    with subprocess.Popen(LATER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as other:
        reason = Disk.why_not("ext4", tmp_path)
        if reason:
            pytest.skip(reason)
        disk = Disk(tmp_path, "ext4")
        try:
            other.stdin.write("now\n")
            assert other.stdout.readline() == "made\n"
            disk.cut_power()
            with pytest.raises(OSError):
                (disk.mount_point / "unpowered").write_text("x")
            disk.restore_power()
            (disk.mount_point / "powered").write_text("x")
        finally:
            other.stdin.close()
            disk.close()
