"""`serve` as its user meets it: a process, its output, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamod.foreground.session import SAME_SIGNAL_S
from dynamod.schema import ServeOptions, ServeRegistration

EXAMPLE = Path(__file__).parents[3] / "examples" / "hello_world"
DEADLINE_S = 60.0


class Served:
    """One foreground program, its output in files."""

    def __init__(self, tmp_path: Path, options: ServeOptions, directory: Path) -> None:
        self.state = tmp_path / "home"
        self.stdout, self.stderr = tmp_path / "stdout", tmp_path / "stderr"
        file = tmp_path / "options.json"
        file.write_bytes(msgspec.json.encode(options))
        self.options_file = file
        temporary = tmp_path / ("temporary-files-" * 6)  # too long a path for sockets, which need a place of their own
        temporary.mkdir(exist_ok=True)
        self.temporary = temporary
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dynamod.foreground", "--options", str(file)],
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**os.environ, "DYN_LOCAL_STATE_DIR": str(self.state), "TMPDIR": str(temporary)},
            )

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what}\nstdout: {self.stdout.read_text()}\nstderr: {self.stderr.read_text()}")

    def ready(self) -> str:
        def line() -> str | None:
            return next((one for one in self.stderr.read_text().splitlines() if one.startswith("ready: ")), None)

        found: str = self.until(lambda: line() or (self.process.poll() is not None and "ended"), "not ready")
        assert found != "ended", self.stderr.read_text()
        return found

    def ended(self) -> int:
        return self.process.wait(DEADLINE_S)

    def registrations(self) -> list[ServeRegistration]:
        files = (self.state / "serve").glob("*.json")
        return [msgspec.json.decode(file.read_bytes(), type=ServeRegistration) for file in files]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(options: ServeOptions, directory: Path = EXAMPLE) -> Served:
        started.append(Served(tmp_path, options, directory))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            try:
                one.process.wait(20)
            except subprocess.TimeoutExpired:
                one.process.send_signal(signal.SIGTERM)
                one.process.wait(20)


def pids_below(pid: int) -> list[int]:
    """All descendants, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, queue = [], [pid]
    while queue:
        at = queue.pop()
        children = [child for child, parent in parents.items() if parent == at]
        found += children
        queue += children
    return found


def test_hello_world_answers_can_be_attached_to_and_stops_cleanly(serve: Callable[..., Served]) -> None:
    served = serve(ServeOptions(target="hello_world:Frontend", port=0, host="127.0.0.1"))
    ready = served.ready()
    url = ready.split()[1]
    assert url.startswith("http://127.0.0.1:")
    assert "(3 services, 3 replicas)" in ready
    assert not served.options_file.exists()
    request = urllib.request.Request(
        f"{url}/generate", data=b'{"text": "test"}', headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.read() == b"Frontend: Middle: Backend: test-mid-back"
    commands = [(Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in pids_below(served.process.pid)]
    for service in ("Frontend", "Middle", "Backend"):
        assert any(b"--service-name\0" + service.encode() in command for command in commands)
    (entry,) = served.registrations()
    assert (entry.pid, entry.graph, entry.target) == (served.process.pid, "hello-world", "hello_world:Frontend")
    assert Path(entry.socket).stat().st_mode & 0o777 == 0o600
    replicas = pids_below(served.process.pid)

    served.process.send_signal(signal.SIGINT)
    assert served.ended() == 0
    assert served.registrations() == []
    assert not Path(entry.socket).parent.exists()
    assert list(served.temporary.iterdir()) == []
    assert not [pid for pid in replicas if (Path("/proc") / str(pid)).exists()]
    lines = served.stdout.read_text().splitlines()
    assert all(line.startswith(("[Frontend] ", "[Middle] ", "[Backend] ")) for line in lines)
    assert any("draining" in line for line in lines), "the last lines belong to the output too"


def test_a_dry_run_prints_the_configuration_and_starts_nothing(serve: Callable[..., Served]) -> None:
    served = serve(ServeOptions(target="hello_world:Frontend", overrides=("--Middle.message=between",), dry_run=True))
    assert served.ended() == 0
    text = served.stdout.read_text()
    config = json.loads(text.partition("Service Configuration:\n")[2].partition("\n\nGraph:\n")[0])
    assert config["Middle"]["message"] == "between"
    assert "calls Backend" in text
    last = text.rstrip("\n").splitlines()[-2:]
    assert last[0] == "Environment Variable that would be set:"
    assert json.loads(last[1].removeprefix("DYNAMO_SERVICE_CONFIG=")) == config
    assert not served.state.exists()


def test_a_dry_run_shows_which_gpu_each_replica_would_get_and_why(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMOD_GPUS", "2xH100-80GB")
    served = serve(
        ServeOptions(
            target="hello_world:Frontend",
            overrides=(
                *("--Middle.ServiceArgs.workers=2", "--Middle.ServiceArgs.resources.gpu=0.5"),
                *("--Backend.ServiceArgs.workers=2", "--Backend.ServiceArgs.resources.gpu=1"),
            ),
            dry_run=True,
        )
    )
    assert served.ended() == 0
    plan = served.stdout.read_text().partition("GPU Plan:\n")[2].partition("\n\n")[0].splitlines()
    assert plan[:3] == ["  Middle: 2 x 0.5 = 1", "  Backend: 2 x 1 = 2", "  in all: 3"]
    assert "  Backend #1: GPU 0 (GPU-simulated-0000) (simulated)" in plan
    assert "    GPU 0: taken" in plan
    short = next(line for line in plan if line.startswith("  Middle #1: none: "))
    assert "GPU 0: claimed by Backend #1" in short
    assert not served.state.exists()


def test_a_wrong_target_is_one_line_and_exit_code_2(serve: Callable[..., Served]) -> None:
    served = serve(ServeOptions(target="hello_world:Nobody"))
    assert served.ended() == 2
    assert "Nobody" in served.stderr.read_text()
    assert "Traceback" not in served.stderr.read_text()


def test_a_graph_that_cannot_start_says_why_and_exits_1(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from dynamo.sdk import endpoint, service\n"
        "@service()\nclass Broken:\n"
        "    def __init__(self, needed):\n        pass\n"
        "    @endpoint()\n    async def go(self, x: str):\n        yield x\n"
    )
    served = serve(ServeOptions(target="broken:Broken"), tmp_path)
    assert served.ended() == 1
    assert "broken failed" in served.stderr.read_text()


def test_a_second_signal_does_not_wait_for_the_drain(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom dynamo.sdk import async_on_shutdown, endpoint, service\n"
        "@service()\nclass Slow:\n"
        "    @endpoint()\n    async def go(self, x: str):\n        yield x\n"
        "    @async_on_shutdown\n    async def wait(self):\n        print('going slowly', flush=True)\n"
        "        await asyncio.sleep(600)\n"
    )
    served = serve(ServeOptions(target="slow:Slow"), tmp_path)
    served.ready()
    served.process.send_signal(signal.SIGINT)
    served.until(lambda: "going slowly" in served.stdout.read_text(), "the hook has not begun")
    replicas = pids_below(served.process.pid)
    time.sleep(SAME_SIGNAL_S)  # what comes sooner is taken for the first one, passed on by a wrapper
    served.process.send_signal(signal.SIGINT)
    assert served.ended() == 130
    assert not [pid for pid in replicas if (Path("/proc") / str(pid)).exists()]


def test_output_that_nobody_reads_does_not_hold_the_graph_up(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from dynamo.sdk import async_on_start, endpoint, service\n"
        "@service()\nclass Loud:\n"
        "    @endpoint()\n    async def go(self, x: str):\n        yield x\n"
        "    @async_on_start\n    async def shout(self):\n        print('x' * 500_000, flush=True)\n"
    )
    options = tmp_path / "options.json"
    options.write_bytes(msgspec.json.encode(ServeOptions(target="loud:Loud")))
    serve = subprocess.Popen(
        [sys.executable, "-m", "dynamod.foreground", "--options", str(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "DYN_LOCAL_STATE_DIR": str(tmp_path / "home")},
    )
    assert serve.stderr is not None
    assert serve.stdout is not None
    try:
        assert serve.stderr.readline().startswith("ready: ")
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(DEADLINE_S) == 0
    finally:
        serve.kill()
        serve.communicate()


def test_the_graph_starts_before_what_it_does_not_need_is_paid_for() -> None:
    late = {"fastapi", "starlette", "uvicorn", "alembic", "regex", "sqlalchemy.dialects.postgresql"}
    code = f"import sys, dynamod.foreground.session; print({late} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


def test_a_serve_that_is_killed_takes_its_replicas_with_it(serve: Callable[..., Served]) -> None:
    served = serve(ServeOptions(target="hello_world:Frontend", port=0, host="127.0.0.1"))
    served.ready()
    below = pids_below(served.process.pid)
    assert len(below) >= 6  # three shims and three replicas
    served.process.kill()
    served.process.wait(DEADLINE_S)

    def gone() -> bool:
        return not any(_runs(pid) for pid in below)

    served.until(gone, "replicas outlive a killed serve")


def _runs(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
