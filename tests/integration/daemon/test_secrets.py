"""Where a secret goes that was given to a graph, and where it does not: API, logs, command lines, other users."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from dynamo.sdk.spec import GraphSpec
from dynamo_tui.client import calls
from dynamod.schema import GraphState, GraphSubmit
from tests.integration.daemon.test_daemon import DEADLINE_S, EXAMPLE, Daemon, until

SECRET = "correct-horse-battery-staple"
OTHER = "another-horse-battery-staple"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "state")
    made.start()
    yield made
    with made.client() as client:
        client.send(calls.shutdown(stop_graphs=True))
    assert made.process.wait(DEADLINE_S) == 0
    assert not made.where.run_dir_is_apart or not made.where.run_dir.exists()


def spec(secret: str) -> GraphSpec:
    """One service, with the secret in its environment."""
    printed = subprocess.run(
        [sys.executable, "-m", "dynamo.sdk.inspect", "hello_world:Backend"],
        cwd=EXAMPLE,
        capture_output=True,
        check=True,
    )
    made = msgspec.json.decode(printed.stdout, type=GraphSpec)
    services = tuple(msgspec.structs.replace(one, envs={"HF_TOKEN": secret}) for one in made.services)
    return msgspec.structs.replace(made, services=services)


def test_a_secret_reaches_its_replica_and_nobody_else(daemon: Daemon) -> None:
    submit = GraphSubmit(spec=spec(SECRET), envs={"DB_PASSWORD": SECRET})
    with daemon.client() as client:
        name = client.send(calls.submit(submit)).name
        until(lambda: client.send(calls.graph(name)).state is GraphState.READY, "ready")
        [replica] = client.send(calls.replicas(graph=name)).items
        changed = msgspec.structs.replace(submit, spec=spec(OTHER), envs={"DB_PASSWORD": OTHER})
        answers = [
            client.send(calls.graph(name)),
            client.send(calls.revision(name, 1)),
            client.send(calls.plan(changed)),
            client.send(calls.events()),
            client.send(calls.why(replica.id)),
            replica,
        ]
    told = json.dumps([msgspec.to_builtins(answer) for answer in answers], default=str)
    assert "HF_TOKEN" in told, "it is known that there is one"
    assert SECRET not in told
    assert OTHER not in told

    process = psutil.Process(replica.pid)
    assert {process.environ()[name] for name in ("HF_TOKEN", "DB_PASSWORD")} == {SECRET}
    for one in (process, *process.parents()):
        assert SECRET not in " ".join(one.cmdline())
    assert SECRET not in daemon.log.read_text()

    state = daemon.where.state_dir
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    holding = [path for path in state.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert {path.name.removesuffix("-wal") for path in holding} <= {"dynamod.db"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holding)
    logs = list((daemon.where.replica_dir(replica.id) / "log").iterdir())
    assert logs
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in logs)
