"""`python -m tests.fuzz.parsers`: almost right and entirely wrong input for every parser that eats foreign bytes.

    python -m tests.fuzz.parsers [--seconds 20] [--only NAME] [--seed N] [--json FILE]

A finding is any error but those that say no, and any input that takes longer than SLOW_S. Prints how many cases each
parser was given, and ends with 1 when there are findings.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzz.mutation import bytes_changed, variants
from tests.fuzz.targets import Target, targets

SLOW_S = 2.0
MEMORY_BYTES = 4 << 30


@dataclass
class Outcome:
    """`taken` inputs were understood, `refused` ones were told so. `findings` are unlike each other."""

    name: str
    cases: int = 0
    taken: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        return (
            f"{self.name:>22} {self.cases:9} {self.taken:9} {self.refused:9} {self.seconds:7.1f} {len(self.findings):4}"
        )


def fuzz(target: Target, seed: int, *, seconds: float = float("inf"), cases: int | None = None) -> Outcome:
    """Feed one parser until its time is over, or so many cases are done."""
    chance = random.Random(f"{seed} {target.name}")
    outcome = Outcome(target.name)
    began = time.monotonic()
    _one(target, target.example, outcome)
    if outcome.refused:
        outcome.findings["example"] = "its own example is refused"
    while time.monotonic() - began < seconds and outcome.cases != cases:
        if chance.random() < 0.05:
            data = bytes_changed(chance.randbytes(chance.randrange(1, 200)), chance)
        else:
            data = variants(target.example, chance, target.tree, target.encode)
        _one(target, data, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _one(target: Target, data: bytes, outcome: Outcome) -> None:
    outcome.cases += 1
    began = time.process_time()
    try:
        target.eat(data)
        outcome.taken += 1
    except target.refuses:
        outcome.refused += 1
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.name}"
        outcome.findings.setdefault(place, f"{error!s:.100} | input {data!r:.200}")
    if (took := time.process_time() - began) > SLOW_S:
        outcome.findings.setdefault("slow", f"{took:.1f} s | input {data!r:.200}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each parser")
    parser.add_argument("--only", help="parsers whose names contain this")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))  # what asks for more is a finding
    sys.stdout.write(f"seed {options.seed}\n{'parser':>22} {'cases':>9} {'taken':>9} {'refused':>9} {'s':>7} found\n")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        for target in targets(Path(name)):
            if options.only and options.only not in target.name:
                continue
            outcome = fuzz(target, options.seed, seconds=options.seconds)
            outcomes.append(outcome)
            sys.stdout.write(f"{outcome.line()}\n")
            for place, what in outcome.findings.items():
                sys.stdout.write(f"    {place}: {what}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{sum(o.cases for o in outcomes)} cases, {sum(len(o.findings) for o in outcomes)} findings\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    return 1 if any(outcome.findings for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
