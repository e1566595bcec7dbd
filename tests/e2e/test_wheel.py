"""The wheel in an empty environment, outside the checkout: what a user installs is the whole product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import EXAMPLES, ROOT, Home, Http, until
from tests.e2e.conftest import kill_leftovers
from tests.e2e.test_hello_world import ANSWER, free_port, listens

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]

UV = Path(sys.executable).with_name("uv")


def call(*command: str, cwd: Path) -> str:
    environ = os.environ | {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environ.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """The folder of an environment that holds the wheel and what it requires, and nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="dyn-wheel-"))
    try:
        call(str(UV), "build", "--wheel", "--out-dir", str(folder), str(ROOT), cwd=folder)
        [wheel] = folder.glob("*.whl")
        call(str(UV), "venv", "--python", sys.executable, str(folder / "env"), cwd=folder)
        python = folder / "env" / "bin" / "python"
        call(str(UV), "pip", "install", "--python", str(python), str(wheel), cwd=folder)
        yield folder / "env"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(installed: Path) -> Iterator[Home]:
    path = Path(tempfile.mkdtemp(prefix="dyn-e2e-"))
    try:
        yield Home(path, python=str(installed / "bin" / "python"), extra={"PYTHONPATH": ""})
    finally:
        leftover = kill_leftovers(path)
        shutil.rmtree(path, ignore_errors=True)
        assert not leftover, f"processes outlived their commands: {leftover}"


def test_commands_of_the_wheel(installed: Path, home: Home) -> None:
    for name in ("dynamoctl", "dynamo"):
        done = subprocess.run(
            [str(installed / "bin" / name), "--version"], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.startswith(f"{name} 0.")
    assert (installed / "bin" / "dynamo-tui").exists()
    assert (installed / "bin" / "dynamod").exists()
    assert home.run("daemon", "status", code=5).stdout == ""
    home.run("daemon", "start")
    assert home.json("daemon", "status")["pid"]
    assert home.json("graphs") == []
    home.run("daemon", "stop")
    home.run("daemon", "status", code=5)


def test_hello_world_is_served_from_outside_the_checkout(home: Home) -> None:
    shutil.copytree(EXAMPLES / "hello_world", home.path / "hello")
    port = free_port()
    with home.running(
        "serve", "hello_world:Frontend", "-p", str(port), "--host", "127.0.0.1", cwd=home.path / "hello"
    ) as serve:
        until(lambda: listens(port) or serve.poll() is not None, what="the port")
        assert serve.poll() is None, serve.communicate()[0]
        connection = Http(f"http://127.0.0.1:{port}")
        assert connection.post("/generate", {"text": "test"}) == (200, ANSWER)
        connection.close()
        serve.terminate()
        assert serve.wait(60) == 0
