"""What was injected and what came of it."""

from dataclasses import dataclass, field

OUTCOMES = ["completed", "honest", "wrong", "lost", "hung"]
BAD = ["wrong", "lost", "hung"]
HEADINGS = {"honest": "not complete"}
NOTES_MAX = 16
NOTE_MAX = 1200


@dataclass
class Tally:
    """Of one kind. runs: rounds; injected: faults that really happened; the rest counts uploads."""

    kind: str
    runs: int = 0
    injected: int = 0
    completed: int = 0
    honest: int = 0
    wrong: int = 0
    lost: int = 0
    hung: int = 0
    seconds: float = 0
    skipped: str = ""
    notes: list = field(default_factory=list)

    def count(self, outcome, note=""):
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome in BAD:
            self.note(f"{outcome}: {note[:NOTE_MAX]}")

    def note(self, text):
        if len(self.notes) < NOTES_MAX:
            self.notes.append(text)

    @property
    def bad(self):
        return self.wrong + self.lost + self.hung


def table(tallies):
    """One line a kind, and the sum."""
    names = ["runs", "injected", *OUTCOMES]
    width = max(len(tally.kind) for tally in tallies) + 2
    lines = [f"{'kind':{width}}" + "".join(f"{HEADINGS.get(name, name):>13}" for name in names) + f"{'seconds':>10}"]
    for tally in tallies:
        if tally.skipped:
            lines.append(f"{tally.kind:{width}}skipped: {tally.skipped}")
            continue
        lines.append(f"{tally.kind:{width}}" + "".join(f"{getattr(tally, name):13}" for name in names) + f"{tally.seconds:10.1f}")
    lines.append(f"{'sum':{width}}" + "".join(f"{sum(getattr(tally, name) for tally in tallies):13}" for name in names))
    return "\n".join(lines)
