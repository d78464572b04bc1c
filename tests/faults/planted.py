"""Would the campaign notice? Each planted bug is chosen in programs that have them all (BECKON_PLANTS), and the kinds that
should catch it are run until one does."""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "planted"

# name: (what is wrong, the kinds that should catch it, runs at most)
PLANTS = {
    "no-folder-fsync": ("no folder is synced", "power.receiver", 40),
    "receipt-before-fsync": ("the receipt is out before the content is synced", "power.receiver", 40),
    "resume-without-rehash": ("a resumed upload trusts the part that was sent before", "file.rewritten", 30),
    "offset-from-client": ("a PATCH goes on wherever its client says", "link.lying", 20),
    "fence-by-flag": ("an older transfer is cut, but may still write", "race.two workers", 400),
    "completion-without-end": ("a body that has all its bytes and no end is complete", "link.unclean", 20),
    "accepted-before-sync": ("accepted is said before the job is on the disk", "power.agent", 30),
    "id-forgotten-early": ("a finished upload's id is known no more", "race.repeated", 100),
    "late-cancel": ("a cancel that came too late wins over a receipt", "race.cancel", 300),
    "short-read-ends-body": ("a file that ends too early ends its body cleanly", "file.cut", 30),
}
SHORT = ["offset-from-client", "completion-without-end", "id-forgotten-early"]


def build():
    """All of them are in one build; $BECKON_PLANT chooses. BECKON_PLANTED_BUILD names one that is there."""
    if "BECKON_PLANTED_BUILD" in os.environ:
        return Path(os.environ["BECKON_PLANTED_BUILD"]) / "bin"
    for words in (["cmake", "--preset", "dev", "-B", BUILD, "-DBECKON_PLANTS=ON", "-DBECKON_TESTS=OFF"],
                  ["cmake", "--build", BUILD, "-j", "2"]):
        done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"the planted bugs can't be built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return BUILD / "bin"


def hunt(name, seed, bin_dir):
    """The first note of a run that caught it, "" if none did, None if the machine can't."""
    _, kinds, runs = PLANTS[name]
    done = subprocess.run([sys.executable, "-B", HERE / "run.py", "--plant", name, "--only", kinds, "--seed", seed,
                           "--runs", str(runs), "--until-bad"],
                          env={**os.environ, "BECKON_BIN_DIR": str(bin_dir)}, capture_output=True, text=True, check=False)
    caught = re.findall(r"^\S.*?: ((?:wrong|lost|hung): .*)$", done.stdout, re.MULTILINE)
    if done.returncode == 1:
        return caught[0] if caught else "exit code 1"
    return None if "skipped:" in done.stdout else ""


def run(names, seed):
    """Prints a table. Returns how many got away."""
    bin_dir = build()
    escaped = 0
    print(f"{'planted bug':26}{'kind':20}caught")
    for name in names:
        found = hunt(name, seed, bin_dir)
        escaped += found == ""
        told = {None: "skipped: this machine can't", "": "NO"}.get(found, f"yes: {(found or '')[:120]}")
        print(f"{name:26}{PLANTS[name][1]:20}{told}", flush=True)
    return escaped
