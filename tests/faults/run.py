"""The campaign: see README.md and scripts/faults."""

import argparse
import importlib
import multiprocessing
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
os.environ.setdefault("BECKON_BIN_DIR", str(HERE.parents[1] / "build" / "dev" / "bin"))
os.environ.setdefault("BECKON_FAULTLINE", str(Path(os.environ["BECKON_BIN_DIR"]).parent / "tests" / "libfaultline.so"))

import planted  # noqa: E402
from engine.bench import Bench, Skipped  # noqa: E402
from engine.tally import table  # noqa: E402
from harness.pki import Pki  # noqa: E402

MODULES = ["kills", "calls", "links", "power", "clocks", "files", "races", "shows"]
PROMISED = {"kills": ("kill.", 500), "failed calls": (("call.", "memory."), 2000), "power cuts": ("power.", 300),
            "resets": ("link.resets", 500)}  # of the long form


def kinds():
    """name: (function, runs in the short form, runs in the long form)."""
    found = {}
    for module in MODULES:
        if (HERE / "kinds" / f"{module}.py").exists():
            found.update(importlib.import_module(f"kinds.{module}").KINDS)
    return found


def run_kind(task):
    """In a process of its own. Returns the tally."""
    name, options, runs, deadline, pki_folder = task
    bench = Bench(name, options, runs, deadline, pki_folder)
    started = time.monotonic()
    try:
        kinds()[name][0](bench)
    except Skipped as reason:
        bench.tally.skipped = str(reason)
    except Exception:  # a kind that breaks off has found something, or is broken itself
        bench.tally.count("wrong", traceback.format_exc()[-1500:])
    finally:
        bench.close()
    bench.tally.seconds = time.monotonic() - started
    return bench.tally


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Breaks Beckon in every way there is, and looks what comes of it.")
    parser.add_argument("--long", action="store_true", help="the whole campaign, half an hour at most")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of an earlier run, to choose the same faults")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="kinds whose names contain it; may be repeated")
    parser.add_argument("--runs", type=int, help="of each kind, instead of the form's own number")
    parser.add_argument("--lanes", type=int, help="kinds at a time; each waits a good deal")
    parser.add_argument("--plant", help="the planted bug to choose, in programs built with BECKON_PLANTS")
    parser.add_argument("--until-bad", action="store_true", help="stop a kind at the first that is wrong")
    parser.add_argument("--planted", action="store_true", help="only: is each planted bug caught?")
    parser.add_argument("--list", action="store_true", help="the names of the kinds")
    return parser.parse_args()


def main():
    options = arguments()
    chosen = {name: kind for name, kind in kinds().items() if not options.only or any(text in name for text in options.only)}
    if options.list:
        print("\n".join(chosen))
        return 0
    if options.planted:
        return 1 if planted.run(planted.PLANTS, options.seed) else 0
    print(f"seed {options.seed}; {'long' if options.long else 'short'} form; {len(chosen)} kinds", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="beckon-faults-pki-"))
    deadline = time.monotonic() + (25 * 60 if options.long else 150)
    try:
        pki = prepare_pki(folder / "pki")
        tasks = [(name, options, options.runs or kind[2 if options.long else 1], deadline, str(pki.folder))
                 for name, kind in chosen.items()]
        tasks.sort(key=lambda task: not task[0].startswith("show."))  # the longest first
        tallies = run_all(tasks, options.lanes or (4 if options.long else 3))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = report(tallies, list(chosen))
    if options.long and not options.only and not options.runs:
        result |= check_promised(tallies)
    if not options.only:
        result |= 1 if planted.run(planted.PLANTS if options.long else planted.SHORT, options.seed) else 0
    return result


def prepare_pki(folder):
    """Everything that a house asks for, made once: kinds run side by side."""
    pki = Pki.make(folder)
    pki.server("localhost"), pki.server("receiver.test"), pki.server("coordinator.test")
    pki.client("restaurant_1"), pki.service("receiver"), pki.service("coordinator"), pki.service("operator")
    pki.token_key("receiver"), pki.token_key("coordinator")
    return pki


def run_all(tasks, lanes):
    tallies = []
    with multiprocessing.Pool(lanes, maxtasksperchild=1) as pool:
        for tally in pool.imap_unordered(run_kind, tasks, chunksize=1):
            print(f"  {tally.kind}: {tally.skipped and 'skipped' or ('wrong' if tally.bad else 'ok')}, {tally.seconds:.0f} s", flush=True)
            tallies.append(tally)
    return tallies


def check_promised(tallies):
    """The long form's numbers: 0 if they were reached, where the machine permits the kind."""
    result = 0
    for what, (prefix, least) in PROMISED.items():
        mine = [tally for tally in tallies if tally.kind.startswith(prefix)]
        count = sum(tally.injected for tally in mine)
        print(f"{count} {what}, promised are {least}")
        if count < least and not any(tally.skipped for tally in mine):
            result = 1
    return result


def report(tallies, order):
    tallies.sort(key=lambda tally: order.index(tally.kind))
    print(table(tallies))
    for tally in tallies:
        for note in tally.notes:
            print(f"{tally.kind}: {note}")
    bad = sum(tally.bad for tally in tallies)
    print(f"{bad} wrong, lost or hung" if bad else "nothing wrong, lost or hung")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
