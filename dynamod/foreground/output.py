"""Prints replicas' log lines as they come, each with its service in front."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from dynamod.observe.logs.follow import Batch
from dynamod.schema import Replica

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class LogPrinter:
    """`[Service] line` on stdout; a service with several replicas is told apart as `[Service:2]`."""

    def __init__(self, services: Sequence[str], stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._colour = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(services)}
        self._labels: dict[str, str] = {}
        self._coloured = self._stream.isatty()

    def learn(self, replicas: Iterable[Replica], counts: dict[str, int]) -> None:
        """Which replica is which; `counts` says how many a service wants."""
        for replica in replicas:
            several = counts.get(replica.service, 1) > 1 or replica.index > 1
            label = f"[{replica.service}:{replica.index}]" if several else f"[{replica.service}]"
            if self._coloured:
                label = f"\x1b[{self._colour.get(replica.service, 36)}m{label}\x1b[0m"
            self._labels[replica.id] = label

    def show(self, batch: Batch) -> None:
        lines = [f"{self._labels.get(line.replica, f'[{line.service}]')} {line.text}\n" for line in batch.lines]
        if batch.skipped:
            lines.insert(0, f"… {batch.skipped:,} lines skipped\n")
        self._stream.write("".join(lines))
        self._stream.flush()


def say(text: str) -> None:
    """A line of this program's own, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
