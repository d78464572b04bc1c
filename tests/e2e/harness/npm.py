"""Programs for Node that a test needs, as their package-lock.json names them."""

import shutil
import subprocess

import pytest


def install(source, folder, timeout_s=120):
    """Copies the files of source into folder and installs what they name. Skips the test where that can't be."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no node and npm here")
    for path in source.iterdir():
        shutil.copy(path, folder)
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True,
                          text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return folder
