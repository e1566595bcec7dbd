"""Lines a second that shims store, from many replicas at once, and what that costs; every line is checked afterwards.

    python -m benchmarks.control.log_ingest [--replicas 20] [--rate 5000] [--seconds 5]

Each replica prints numbered lines of about 100 bytes, in bursts every 10 ms, at the given rate; with `--rate 0` as
fast as it can. Nothing may be missing, doubled or out of order, and every index record must point at its line.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from dynamod.drivers import logfile
from dynamod.drivers.base import Ended, Launch
from dynamod.drivers.process import ProcessDriver
from dynamod.schema import locations

WRITER = """
import sys, time
rate, seconds = int(sys.argv[1]), float(sys.argv[2])
text = "x" * 90
write, n, begun = sys.stdout.write, 0, time.perf_counter()
while (now := time.perf_counter() - begun) < seconds:
    due = int(now * rate) if rate else n + 1000
    write("".join(f"{k} {text}\\n" for k in range(n, due)))
    sys.stdout.flush()
    n = due
    if rate:
        time.sleep(0.01)
print(n, "lines in all", file=sys.stderr)
"""


async def run(directory: Path, count: int, rate: int, seconds: float) -> float:
    """Write with `count` replicas; returns how long it took until all had ended."""
    ended: dict[str, Ended] = {}
    all_done = asyncio.Event()

    def on_end(replica_id: str, end: Ended) -> None:
        ended[replica_id] = end
        if len(ended) == count:
            all_done.set()

    driver = ProcessDriver(locations(directory), on_end)
    argv = [sys.executable, "-S", "-c", WRITER, str(rate), str(seconds)]
    begun = time.perf_counter()
    await asyncio.gather(
        *(driver.start(Launch(f"r{n}", 1, argv, dict(os.environ), str(directory))) for n in range(count))
    )
    async with asyncio.timeout(seconds * 20 + 60):
        await all_done.wait()
    took = time.perf_counter() - begun
    await driver.close()
    assert all(end.code == 0 for end in ended.values())
    return took


def check(directory: Path) -> int:
    """Count the lines of one replica; raises AssertionError when one is missing or an index record is wrong."""
    expected = 0
    for number in logfile.segments(str(directory)):
        data = (directory / logfile.segment_name(number)).read_bytes()
        for _, offset, line in logfile.read_index(str(directory), number):
            start = data[offset : offset + 20].split(b" ")[0]
            assert int(start) == line or b"lines in all" in data[offset : offset + 40]
        for text in data.splitlines():
            if text.endswith(b"lines in all"):
                assert int(text.split()[0]) == expected
            else:
                assert int(text.split(b" ")[0]) == expected
                expected += 1
    return expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        places = locations(Path(name))
        took = asyncio.run(run(Path(name), options.replicas, options.rate, options.seconds))
        lines = sum(check(Path(logfile.log_dir(str(places.replica_dir(f"r{n}"))))) for n in range(options.replicas))
    # The shims are this process's children, the writers theirs.
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{lines} lines from {options.replicas} replicas in {took:.1f} s: {lines / took:.0f}/s, none lost")
    print(f"CPU of shims and writers together: {1e6 * cpu / lines:.1f} us a line")


if __name__ == "__main__":
    main()
