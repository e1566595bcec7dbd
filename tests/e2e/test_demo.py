"""`dynamoctl demo`: the whole product in one command, with and without a terminal, and nothing left behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import EXAMPLES, Home
from tests.e2e.conftest import kill_leftovers

DEMO_TIMEOUT_S = 200.0
pytestmark = [pytest.mark.timeout(DEMO_TIMEOUT_S + 200), pytest.mark.xdist_group("e2e-llm")]
COMMAND = ("demo", "--examples", str(EXAMPLES))


@pytest.fixture(autouse=True)
def nothing_left(home: Home) -> Iterator[None]:
    """Demos make their state directory under TMPDIR: whatever they started and left can be told by it."""
    home.extra["TMPDIR"] = str(home.path)
    yield
    leftover = kill_leftovers(home.path)
    assert not leftover, f"the demo left processes behind: {leftover}"
    assert not list(home.path.glob("dynamod-demo-*")), "the demo left its state directory behind"


def test_without_a_terminal_it_prints_what_the_dashboard_would_show(home: Home) -> None:
    with home.running(*COMMAND) as demo:
        output, _ = demo.communicate(timeout=DEMO_TIMEOUT_S)
    assert demo.returncode == 0, output
    assert re.search(r"^demo +ready +all_ready", output, re.MULTILINE), output
    for service in ("Frontend", "Processor", "Router", "Worker"):
        assert re.search(rf"^demo-\S+ +demo +\S*{service} +ready", output, re.MULTILINE), output
    answer = re.search(r"^> .*\n(.+)\n", output, re.MULTILINE)
    assert answer, output
    assert answer.group(1).strip(), "one streamed answer"
    rate = re.search(r"^demo: hit rate (\d+\.\d) %", output, re.MULTILINE)
    assert rate, output
    assert float(rate.group(1)) > 30, "the prompts share their beginnings"


def test_a_terminated_demo_stops_all_that_it_started(home: Home) -> None:
    with home.running(*COMMAND) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "submitting" in line:
                break
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=DEMO_TIMEOUT_S)
    assert demo.returncode == 130


def test_in_a_terminal_the_dashboard_opens_and_quitting_it_ends_the_demo(home: Home) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "dynamo_tui.cli", *COMMAND],
        cwd=home.path,
        env=home.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        screen = read_until(ours, process, r"KV|replicas|Router", after=r"\x1b\[\?1049h")
        assert "demo" in screen
        deadline = time.monotonic() + DEMO_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            os.write(ours, b"q")
            drain(ours, 1.0)
        assert process.wait(1) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


def read_until(terminal: int, process: subprocess.Popen[bytes], pattern: str, *, after: str) -> str:
    """What the terminal shows until the pattern appears, once the alternate screen (`after`) is open."""
    text = ""
    deadline = time.monotonic() + DEMO_TIMEOUT_S
    while time.monotonic() < deadline:
        text += drain(terminal, 0.5)
        opened = re.search(after, text)
        if opened and re.search(pattern, text[opened.end() :]):
            return text
        assert process.poll() is None, f"it ended: {text[-2000:]}"
    raise AssertionError(f"{pattern!r} did not appear: {text[-2000:]}")


def drain(terminal: int, timeout: float) -> str:
    """What comes from the terminal until it is quiet or the time is over."""
    text = b""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([terminal], [], [], left)
        if not ready:
            break
        try:
            text += os.read(terminal, 65536)
        except BlockingIOError:
            continue
        except OSError:  # the other side is closed
            break
    return text.decode("utf-8", "replace")


def test_a_missing_example_is_one_clear_line(home: Home) -> None:
    elsewhere = Path(home.path) / "elsewhere"
    elsewhere.mkdir()
    done = home.run("demo", "--examples", str(elsewhere), code=2)
    assert done.stderr.startswith("error: the example llm/graphs/agg_router.py is not in ")
    assert done.stderr.count("\n") == 1
