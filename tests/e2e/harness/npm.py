"""Programs for Node that a test needs, as their package-lock.json names them."""

import shutil
import subprocess

import pytest

INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=5",
           "--fetch-retry-mintimeout=1000"]


def install(source, folder, timeout_s=240):
    """Copies the files of source into folder and installs what they name. Skips the test where that can't be."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no node and npm here")
    for path in source.iterdir():
        shutil.copy(path, folder)
    done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return folder
