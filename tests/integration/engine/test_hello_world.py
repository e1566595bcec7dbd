"""The engine with real replicas of the SDK: from a spec to an answer over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx

from dynamo.sdk.spec import GraphSpec, decode
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, Reason
from tests.integration.engine.support import replicas, until_replicas, until_state, where

EXAMPLE = Path(__file__).parents[3] / "examples" / "hello_world"


MORTAL = """
import os
from pathlib import Path
from dynamo.sdk import endpoint, liveness, service

@service(probes={"liveness": {"period": 0.1, "failure_threshold": 2}}, restart={"delay": 0.05})
class Mortal:
    @liveness
    def alive(self):
        assert not Path(f"dead-{os.getpid()}").exists(), "engine is gone"
        return True

    @endpoint()
    async def ask(self, payload): ...
"""


async def inspected(target: str, directory: Path = EXAMPLE) -> GraphSpec:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dynamo.sdk.inspect", target, "--port", "0", cwd=directory, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return decode(output)


async def test_hello_world_serves_restarts_and_stops(tmp_path: Path) -> None:
    spec = await inspected("hello_world:Frontend")
    async with Engine(where(tmp_path)) as engine:
        graph, created = await engine.submit(GraphSubmit(spec=spec), actor="user:0")
        assert created
        graph = await until_state(engine, graph.name, "ready")
        assert graph.address is not None
        async with httpx.AsyncClient(base_url=graph.address) as client:
            answer = await client.post("/generate", json={"text": "test"})
            assert answer.text == "Frontend: Middle: Backend: test-mid-back"
            (middle,) = await replicas(engine, "Middle")
            assert middle.pid is not None
            os.kill(middle.pid, signal.SIGKILL)
            found = await until_replicas(
                engine, lambda rs: any(r.service == "Middle" and r.pid not in (None, middle.pid) for r in rs)
            )
            back = next(r for r in found if r.service == "Middle")
            assert back.id == middle.id
            assert back.restarts == 1
            assert back.last_exit is not None
            assert back.last_exit.signal == "SIGKILL"
            assert back.last_exit.reason is Reason.KILLED_BY_SIGNAL
            await until_state(engine, graph.name, "ready")
            answer = await client.post("/generate", json={"text": "test"})
            assert answer.text == "Frontend: Middle: Backend: test-mid-back"
        await engine.stop(stop_graphs=True)


async def test_a_replica_whose_liveness_handler_fails_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text(MORTAL)
    spec = await inspected("mortal:Mortal", tmp_path)
    async with Engine(where(tmp_path)) as engine:
        graph, _ = await engine.submit(GraphSubmit(spec=spec), actor="user:0")
        await until_state(engine, graph.name, "ready")
        (first,) = await replicas(engine, "Mortal")
        (tmp_path / f"dead-{first.pid}").touch()
        (second,) = await until_replicas(engine, lambda rs: all(r.pid not in (None, first.pid) for r in rs))
        assert second.restarts == 1
        assert second.last_exit is not None
        events = await engine.events(after=0, limit=1000)
        text = [e for e in events.items if e.reason is Reason.LIVENESS_FAILED]
        assert text
        await until_state(engine, graph.name, "ready")
        await engine.stop(stop_graphs=True)
