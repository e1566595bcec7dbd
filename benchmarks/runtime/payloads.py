"""Echoes of 1 MiB strings, 8 at once: `python benchmarks/runtime/payloads.py`."""

from __future__ import annotations

from benchmarks.runtime.compare import Work, main

WORKS = [
    Work("1 MiB echoes over a Unix socket, 8 concurrent", "payloads", 8, "rate", "MB/s", 2.5),
    Work("… CPU per MB, both processes", "payloads", 8, "cpu_us", "µs", 0, higher=False),
    Work("1 MiB echoes over TCP, 8 concurrent", "payloads", 8, "rate", "MB/s", 1.2, tcp=True),
    Work("… CPU per MB, both processes", "payloads", 8, "cpu_us", "µs", 0, higher=False, tcp=True),
]

if __name__ == "__main__":
    main(__doc__ or "", WORKS)
