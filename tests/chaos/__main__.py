"""`python -m tests.chaos [--rounds 100] [--seed N]`: kill the daemon again and again under load; say what was found."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.killed_daemon import Chaos
from tests.integration.engine.leftovers import kill_leftovers
from tests.integration.engine.support import where


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        try:
            report = asyncio.run(Chaos(Path(name), options.rounds, options.seed).run())
        finally:
            kill_leftovers(where(Path(name)))
    sys.stdout.write(f"{report.text()}\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
