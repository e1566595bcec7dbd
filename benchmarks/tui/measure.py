"""Measures the real program in a pseudo-terminal: first frame, keystroke to frame, CPU share, memory.

    python -m benchmarks.tui.measure [--seconds 10] [--presses 200] [--flood 1000000] [--flood-seconds 900]

A keystroke's frame is the first output after it that moves the cursor bar. CPU is user + system time of
the dashboard's process over wall time; memory is its resident set.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SIZE = (120, 40)
CURSOR = "▌".encode()


class Program:
    """The dashboard in a pseudo-terminal."""

    def __init__(self, socket: Path) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "dynamo_tui.tui", "--socket", str(socket)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        os.kill(self.pid, signal.SIGWINCH)
        self.process = psutil.Process(self.pid)
        self.seen = b""

    def read(self, timeout: float) -> bytes:
        ready, _, _ = select.select([self.fd], [], [], timeout)
        return os.read(self.fd, 1 << 16) if ready else b""

    def until(self, wanted: bytes, timeout: float = 30.0) -> float:
        """Seconds until a text is written."""
        start = time.perf_counter()
        seen = b""
        while wanted not in seen:
            if time.perf_counter() - start > timeout:
                raise TimeoutError(f"{wanted!r} did not appear; the last output: {seen[-2000:]!r}")
            seen = seen[-200:] + self.read(0.5)
        return time.perf_counter() - start

    def drain(self, seconds: float) -> bytes:
        """Read and discard for a while; returns the last output."""
        end = time.perf_counter() + seconds
        last = b""
        while (left := end - time.perf_counter()) > 0:
            last = (last + self.read(left))[-(1 << 16) :]
        return last

    def press(self, key: bytes) -> float:
        """Seconds from a key to the frame that shows its effect."""
        while self.read(0.0):
            pass
        start = time.perf_counter()
        os.write(self.fd, key)
        seen = b""
        while CURSOR not in seen:
            seen = seen[-8:] + self.read(1.0)
            if time.perf_counter() - start > 5:
                raise TimeoutError("no frame followed the key")
        return time.perf_counter() - start

    def cpu_share(self, seconds: float) -> float:
        before = self.process.cpu_times()
        start = time.perf_counter()
        self.drain(seconds)
        after = self.process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return used / (time.perf_counter() - start)

    @property
    def rss_mb(self) -> float:
        return self.process.memory_info().rss / 1e6

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def running(events_per_s: float, lines_per_s: float) -> Iterator[Program]:
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "api"
        arguments = [str(socket), str(events_per_s), str(lines_per_s)]
        load = subprocess.Popen([sys.executable, "-m", "benchmarks.tui.load", *arguments])
        try:
            while not socket.exists():
                time.sleep(0.02)
            program = Program(socket)
            try:
                yield program
            finally:
                program.close()
        finally:
            load.kill()
            load.wait()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(what: str, taken: list[float]) -> None:
    print(f"  {what}: median {statistics.median(taken) * 1e3:.1f} ms, p99 {quantile(taken, 0.99) * 1e3:.1f} ms")


def first_frames(times: int) -> None:
    taken = []
    cpu = []
    for _ in range(times):
        with running(0, 1) as program:
            program.until(b"graph-000")
            taken.append(time.perf_counter() - program.started)
            cpu.append(sum(program.process.cpu_times()[:2]))
    print(f"first useful frame: median {statistics.median(taken) * 1e3:.0f} ms, worst {max(taken) * 1e3:.0f} ms")
    print(
        f"  CPU until then: {statistics.median(cpu) * 1e3:.0f} ms; `import textual.app` alone {_textual() * 1e3:.0f} ms"
    )


def _textual() -> float:
    """CPU seconds of a Python that imports the toolkit and ends: what no Textual program can go below."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import textual.app"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def idle(seconds: float) -> None:
    with running(0, 1) as program:
        program.until(b"graph-000")
        program.drain(2)
        print(f"idle, 100 graphs: {program.cpu_share(seconds):.1%} of a core, {program.rss_mb:.0f} MB")


def events(seconds: float, presses: int) -> None:
    with running(50, 1) as program:
        program.until(b"graph-000")
        program.drain(2)
        share = program.cpu_share(seconds)
        taken = []
        for i in range(presses):
            taken.append(program.press(b"j" if i % 60 < 30 else b"k"))
            program.drain(0.02)
        print(f"1,000 replicas, 50 events/s: {share:.1%} of a core, {program.rss_mb:.0f} MB")
        report("keystroke to frame", taken)


def logs(seconds: float) -> None:
    with running(50, 20_000) as program:
        program.until(b"graph-000")
        os.write(program.fd, b"l")
        program.until(b"following")
        program.drain(3)
        share = program.cpu_share(seconds)
        print(f"50 events/s, 20,000 log lines/s followed: {share:.1%} of a core, {program.rss_mb:.0f} MB")


def keys_in_logs(presses: int) -> None:
    with running(50, 20_000) as program:
        program.until(b"graph-000")
        os.write(program.fd, b"l")
        program.until(b"following")
        program.drain(3)
        taken = []
        for i in range(presses):
            while program.read(0.0):
                pass
            start = time.perf_counter()
            os.write(program.fd, b"f")
            program.until(b"paused" if i % 2 == 0 else b"following", 5)
            taken.append(time.perf_counter() - start)
            program.drain(0.05)
        report("keystroke to frame in logs", taken)


def flood(number: int, limit_s: float) -> None:
    with running(0, 0) as program:
        program.until(b"graph-000")
        before = program.rss_mb
        cpu = sum(program.process.cpu_times()[:2])
        os.write(program.fd, b"l")
        start = time.perf_counter()
        taken = 0
        peak = 0.0
        while taken < number and time.perf_counter() - start < limit_s:
            text = program.drain(1.0)
            peak = max(peak, program.rss_mb)
            for found in re.findall(rb"([\d,.]+M?) received", text):
                taken = max(taken, _number(found.decode()))
        rate = taken / (time.perf_counter() - start)
        cpu = sum(program.process.cpu_times()[:2]) - cpu
        print(f"flood: {taken:,} lines taken at {rate:,.0f}/s; memory {before:.0f} MB before, {peak:.0f} MB at most")
        print(
            f"  CPU {cpu / max(taken, 1) * 1e6:.1f} µs a line: {cpu / max(taken, 1) * 20_000:.1%} of a core at 20,000/s"
        )


def _number(text: str) -> int:
    return int(float(text.removesuffix("M")) * 1e6) if text.endswith("M") else int(text.replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--flood", type=int, default=1_000_000)
    parser.add_argument("--flood-seconds", type=float, default=900.0)
    options = parser.parse_args()
    first_frames(5)
    idle(options.seconds)
    events(options.seconds, options.presses)
    logs(options.seconds)
    keys_in_logs(options.presses)
    flood(options.flood, options.flood_seconds)


if __name__ == "__main__":
    main()
