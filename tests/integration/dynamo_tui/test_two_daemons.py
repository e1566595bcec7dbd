"""The dashboard in front of two real daemons: one on its socket, one over TCP with a token."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.app import Dashboard
from dynamo_tui.tui.dialogs.confirm import Confirm
from dynamo_tui.tui.screens.plan import PlanView
from dynamo_tui.tui.store import GraphKey, Link
from tests.integration.daemon.test_daemon import DEADLINE_S, Daemon
from tests.integration.engine.support import graph, service, submission
from tests.unit.dynamo_tui.tui.conftest import screen_text, until

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("two-daemons")]
KEY = GraphKey("default", "demo")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with four simulated GPUs and a graph that takes one."""
    made = Daemon(tmp_path / "here")
    made.start(DYNAMOD_GPUS="4xH100-80GB")
    with made.client() as client:
        client.send(calls.submit(submission(graph(tmp_path, service("Worker", gpu=1)))))
    yield made
    end(made)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon on TCP, and the arguments that it is started with."""
    made = Daemon(tmp_path / "there")
    arguments = ["--listen", f"127.0.0.1:{free_port()}", "--token-file", str(tmp_path / "tokens")]
    yield made, arguments
    end(made)


def end(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.send(calls.shutdown(stop_graphs=True))
    assert daemon.process.wait(DEADLINE_S) == 0


async def test_each_tab_keeps_its_daemon_and_a_lost_one_resumes(
    here: Daemon, there: tuple[Daemon, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, arguments = there
    token = subprocess.run(
        [sys.executable, "-m", "dynamod", "token", "--token-file", arguments[-1], "tester"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()[-1]
    lab.start(*arguments)
    with lab.client() as client:
        client.send(calls.submit(submission(graph(tmp_path, service("Only"), name="away"))))
    contexts = tmp_path / "contexts.json"
    contexts.write_text(json.dumps({"contexts": {"lab": {"url": f"http://{arguments[1]}", "token": token}}}))
    monkeypatch.setenv("DYNAMOD_CONFIG", str(contexts))
    app = Dashboard(Context(socket=str(here.where.api_socket)), graph="demo")
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await until(pilot, lambda: app.store.ready_count(KEY, "Worker") == 1)
        # What the daemon plans is what is shown, and what is done.
        await pilot.press("colon", *"scale Worker=2", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await until(pilot, lambda: "starts Worker-2 on GPU 1: 2 wanted, 1 there" in screen_text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.view, PlanView) and "GPU-simulated-0001" in screen_text(pilot))
        with here.client() as client:
            client.send(calls.scale("demo", "Worker", 3))
        await pilot.press("y")
        await until(pilot, lambda: "nothing was done; planned anew" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: app.store.ready_count(KEY, "Worker") == 2 and not isinstance(app.view, PlanView))
        assert app.store.graphs[KEY].services[0].desired == 2

        await pilot.press("ctrl+t", "colon", *"context lab", "enter")
        await until(pilot, lambda: app.context.name == "lab" and "away" in screen_text(pilot))
        lab.process.send_signal(signal.SIGKILL)
        lab.process.wait(DEADLINE_S)
        await until(pilot, lambda: "disconnected" in screen_text(pilot))
        assert "away" in screen_text(pilot)
        seq = app.store.seq
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.store.link is Link.LIVE and "disconnected" not in screen_text(pilot))
        lab.start(*arguments)
        with lab.client() as client:
            client.send(calls.submit(submission(graph(tmp_path, service("Only"), name="later"))))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: app.store.link is Link.LIVE and "later" in screen_text(pilot))
        # It resumed where it was: no event in between is missing.
        numbers = [event.seq for event in app.store.events if event.seq >= seq]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] <= seq + 1
