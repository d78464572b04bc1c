"""A headless Chromium, driven by lines of JavaScript (web/browser.mjs, Playwright inside)."""

import json
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from . import npm
from .waiting import SLOWNESS

HERE = Path(__file__).parent.parent / "web"
TIMEOUT_MS = 20000 * SLOWNESS


def install(folder):
    """Puts the driver into folder, with what package-lock.json names. Skips the test where that can't be."""
    if not shutil.which("node"):
        pytest.skip("no node and npm here")
    if not shutil.which("chromium"):
        pytest.skip("no chromium here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v \n").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than Playwright wants")
    return npm.install(HERE, folder, timeout_s=300)


class Browser:
    """One page at the coordinator's. launch: what goes before the command, as of a Daemon."""

    def __init__(self, driver, house, launch=(), **options):
        self.always = {"chromium": shutil.which("chromium"), "url": house.coordinator_url, "receiver": house.receiver_url,
                       "timeoutMs": TIMEOUT_MS}
        self.process = subprocess.Popen([*launch, "node", "browser.mjs", json.dumps(options | self.always)], cwd=driver,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin_anew(self, **options):
        """As a new one, but sooner."""
        self.run(options | self.always)

    def run(self, code):
        """Runs the body of an async function of (page, context, options, faults); returns its value."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], 3 * TIMEOUT_MS / 1000)
        assert ready, f"the browser does not answer to {code}"
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"{code}\n{answer['error']}"
        return answer["value"]

    def sees(self, selector):
        """Waits until an element is shown; returns its text."""
        return self.run(f"const it = page.locator({json.dumps(selector)}).first(); await it.waitFor(); return it.innerText()")

    def click(self, selector):
        self.run(f"await page.locator({json.dumps(selector)}).first().click()")

    def fill(self, selector, text):
        self.run(f"await page.locator({json.dumps(selector)}).first().fill({json.dumps(text)})")

    def go(self, route):
        self.run(f"await page.goto(options.url + {json.dumps('/' + route)})")

    def log_in(self, token):
        self.go("")
        self.sees("#token")
        self.fill("#token", token)
        self.click("text=Log in")

    def faults(self):
        """What the page's console and network complained of."""
        return self.run("return faults")

    def screenshot(self, path):
        self.run(f"await page.screenshot({{ path: {json.dumps(str(path))} }})")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
