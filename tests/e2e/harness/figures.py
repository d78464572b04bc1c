"""GET /metrics as Prometheus reads it, and the judgement of its own promtool."""

import re
import shutil
import subprocess

import pytest

from .waiting import wait_until

SAMPLE = re.compile(r'(?P<name>[a-z_]+(\{[^}]*\})?) (?P<value>\S+)')


def parse(text):
    """{'beckon_clients{state="online"}': 1.0}"""
    samples = [SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(samples), text
    return {sample["name"]: float(sample["value"]) for sample in samples}


def read(https):
    answer = https.request("GET", "/metrics")
    assert answer.status == 200, answer
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.body.decode())


def wait_figure(https, name, value):
    """Until a figure has this value."""
    wait_until(lambda: read(https).get(name) == value, lambda: f"{name} to be {value}: {read(https).get(name)}")


def promtool(*words, stdin=None):
    """Runs promtool; skips the test where it is missing."""
    if not shutil.which("promtool"):
        pytest.skip("no promtool here (Debian package prometheus)")
    done = subprocess.run(["promtool", *map(str, words)], input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "error" not in done.stderr.lower(), f"promtool {words}: {done.stdout}{done.stderr}"
    return done
