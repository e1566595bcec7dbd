"""Unary echo through the SDK, one at a time and 64 at once: `python benchmarks/runtime/unary.py`."""

from __future__ import annotations

from benchmarks.runtime.compare import Work, main

WORKS = [
    Work("unary echo, one at a time, p50", "unary", 1, "p50_us", "µs", 6, higher=False),
    Work("unary echo, one at a time, p99", "unary", 1, "p99_us", "µs", 0, higher=False),
    Work("unary echo, 64 concurrent", "unary", 64, "rate", "req/s", 12),
    Work("… CPU per request, both processes", "unary", 64, "cpu_us", "µs", 12, higher=False),
    Work("unary echo over TCP, 64 concurrent", "unary", 64, "rate", "req/s", 12, tcp=True),
]

if __name__ == "__main__":
    main(__doc__ or "", WORKS)
