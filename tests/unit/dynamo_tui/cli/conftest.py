from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from dynamo_tui.cli.__main__ import run
from dynamo_tui.client.contexts import local_context
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.standin import StandIn, standin


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return msgspec.json.decode(self.stdout)


class Dynamoctl(Protocol):
    def __call__(self, *arguments: str) -> Outcome: ...


@pytest.fixture
def home(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: no context, daemon or variable of whoever runs the tests is seen."""
    for name in [n for n in os.environ if n.startswith(("DYN", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(short_dir))
    monkeypatch.setenv("DYN_LOCAL_STATE_DIR", str(short_dir / "state"))
    return short_dir


@pytest.fixture
def dynamoctl(home: Path, capsys: pytest.CaptureFixture[str]) -> Dynamoctl:
    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(arguments)
        out = capsys.readouterr()
        return Outcome(code, out.out, out.err)

    return call


@pytest.fixture
def local(home: Path) -> Iterator[StandIn]:
    """A stand-in on the local daemon's socket."""
    socket = Path(local_context(os.environ).socket or "")
    socket.parent.mkdir(parents=True)
    with standin(socket) as state:
        state.answer("GET /v1/info", sample.info())
        yield state
