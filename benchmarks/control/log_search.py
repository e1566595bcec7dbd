"""How fast logs are searched and followed.

    python -m benchmarks.control.log_search [--megabytes 1000] [--replicas 20]

Written by the shim's own writer. Search: a regular expression whose matches are recent, first page of 100
lines, merged over all replicas; then one that matches nothing, for the speed of a whole scan. Follow: from a
line's write to its arrival at the reader, in one process, so that clocks agree.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from dynamod.drivers import logfile
from dynamod.drivers.logwriter import LogWriter
from dynamod.observe.logs.follow import follow
from dynamod.observe.logs.query import LogSource, log_filter, read_page

LINE = "2026-01-02T03:04:05.678Z INFO dynamo.worker: request %08d took 12.3 ms and gave 128 tokens to its caller\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dynamod-bench-") as name:
        sources = write(Path(name), options.replicas, options.megabytes)
        search(sources, options.megabytes)
        asyncio.run(lag(sources[0]))


def write(root: Path, replicas: int, megabytes: int) -> list[LogSource]:
    """The replicas take turns, as they would in time."""
    directories = [logfile.log_dir(str(root / f"worker-{number}")) for number in range(replicas)]
    writers = [LogWriter(directory, keep=10_000) for directory in directories]
    for at in range(0, megabytes * 1_000_000 // replicas // len(LINE % 0), 500):
        chunk = "".join(LINE % (at + n) for n in range(500)).encode()
        for writer in writers:
            writer.write(chunk)
    for number, writer in enumerate(writers):
        writer.write(f"ERROR dynamo.worker: request {number} failed: out of memory\n".encode())
        writer.close()
    return [LogSource(f"worker-{number}", "Worker", directory) for number, directory in enumerate(directories)]


def search(sources: Sequence[LogSource], megabytes: int) -> None:
    recent = log_filter(pattern=r"failed: out of \w+")
    times = []
    cpu = time.process_time()
    for _ in range(10):
        at = time.perf_counter()
        page = read_page(sources, recent, limit=100, tail=True)
        times.append(1000 * (time.perf_counter() - at))
        assert len(page.items) == len(sources)
    print(
        f"recent matches in {megabytes} MB: first page p50 {statistics.median(times):.0f} ms, max {max(times):.0f} ms"
    )
    nothing = log_filter(pattern=r"no such thing \d+")
    at, cpu = time.perf_counter(), time.process_time()
    pages, after = 0, None
    while pages == 0 or after:
        page = read_page(sources, nothing, limit=100, tail=True, after=after)
        after, pages = page.next, pages + 1
    print(
        f"no match in {megabytes} MB: {time.perf_counter() - at:.1f} s, {time.process_time() - cpu:.1f} s of CPU, "
        f"{pages} pages"
    )


async def lag(source: LogSource) -> None:
    writer = LogWriter(source.directory, keep=10_000)

    async def sources() -> Sequence[LogSource]:
        return [source]

    lags: list[float] = []
    async with aclosing(follow(sources, log_filter())) as batches:  # type: ignore[type-var]
        reading = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(1.0)
        for number in range(50):
            writer.write(f"INFO tick {number}\n".encode())
            at = time.perf_counter()
            await reading
            lags.append(1000 * (time.perf_counter() - at))
            reading = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.05 + number % 7 / 50)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    writer.close()
    lags.sort()
    print(f"follow: a line arrives after p50 {statistics.median(lags):.0f} ms, p98 {lags[-2]:.0f} ms")


if __name__ == "__main__":
    main()
