"""Streams of 128 small items whose handler awaits between items: `python benchmarks/runtime/streams.py`."""

from __future__ import annotations

from benchmarks.runtime.compare import Work, main

WORKS = [
    Work("streamed items, 1 stream", "streams", 1, "rate", "items/s", 8),
    Work("streamed items, 32 streams", "streams", 32, "rate", "items/s", 12),
    Work("streamed items, 128 streams", "streams", 128, "rate", "items/s", 12),
    Work("… CPU per item, both processes", "streams", 128, "cpu_us", "µs", 10, higher=False),
    Work("streamed items over TCP, 1 stream", "streams", 1, "rate", "items/s", 8, tcp=True),
    Work("streamed items over TCP, 128 streams", "streams", 128, "rate", "items/s", 12, tcp=True),
    Work("… CPU per item, both processes", "streams", 128, "cpu_us", "µs", 10, higher=False, tcp=True),
]

if __name__ == "__main__":
    main(__doc__ or "", WORKS)
