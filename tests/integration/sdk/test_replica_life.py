"""Replicas as real processes: hooks, endpoints, calls between them, health, drain and exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.errors import InvalidPayload
from tests.integration.sdk.conftest import DEADLINE, SCOPE, Cell, ReplicaProcess, free_port

HERE = Path(__file__).parent
TARGET = "life.py:Entry"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    path.write_text("")
    return path


async def start(cell: Cell, service: str, journal: Path | None = None, **env: str) -> ReplicaProcess:
    extra = {} if journal is None else {"JOURNAL": str(journal)}
    return await cell.start(TARGET, service, cwd=HERE, **extra, **env)


async def until_noted(journal: Path, text: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while text not in journal.read_text():
            await asyncio.sleep(0.01)


async def front(cell: Cell, **env: str) -> str:
    replica = await start(cell, "Front", **env)
    return (await replica.ready()).http


async def test_a_life_in_order(cell: Cell, journal: Path) -> None:
    config = '{"Worker": {"message": "hi", "block-size": 16, "other": 1}}'
    worker = await start(cell, "Worker", journal, DYNAMO_SERVICE_CONFIG=config)
    status = await worker.ready()
    assert (status.service, status.pid, status.http, status.alive) == ("Worker", worker.process.pid, "", True)
    assert status.instance_id > 0
    assert status.address.unix
    assert await worker.terminate() == 0, worker.output
    assert journal.read_text().splitlines() == [
        "deployment",
        "static startup",
        "init hi 16 {'service_name': 'Worker', 'worker_id': 1, 'namespace': 'ns'} 1",
        "startup",
        "inherited start",
        "sync start",
        "shutdown",
    ]
    assert await cell.statuses() == {}


async def test_deployment_hooks_run_once_before_any_worker(cell: Cell, journal: Path) -> None:
    def hooks_and_starts() -> list[str]:
        return [line.split()[0] for line in journal.read_text().splitlines() if line[:4] in ("depl", "init")]

    for _ in range(3):
        await start(cell, "Worker", journal)
    await asyncio.gather(*(replica.ready() for replica in cell.replicas))
    assert hooks_and_starts() == ["deployment", "init", "init", "init"]
    cell.replicas[0].process.kill()
    await cell.replicas[0].exit_code()
    await (await start(cell, "Worker", journal)).ready()
    assert hooks_and_starts().count("deployment") == 1, "a restarted worker is no new deployment"
    changed = '{"Worker": {"message": "new"}}'
    await (await start(cell, "Worker", journal, DYNAMO_SERVICE_CONFIG=changed)).ready()
    assert hooks_and_starts()[-2:] == ["deployment", "init"]


async def test_a_deployment_hook_whose_runner_dies_is_run_by_another(cell: Cell, journal: Path) -> None:
    first = await start(cell, "Worker", journal, DEPLOYMENT="hang")
    await until_noted(journal, "deployment hangs")
    second = await start(cell, "Worker", journal)
    await second.until(lambda status: status.progress == "waits for deployment hooks that run in another replica")
    first.process.kill()
    await second.ready()
    assert "deployment\n" in journal.read_text()


async def test_calls_between_services(cell: Cell) -> None:
    await start(cell, "Worker")
    async with httpx.AsyncClient(base_url=await front(cell), timeout=DEADLINE) as client:
        assert (await client.post("/stream", json={"text": "a b"})).text == "<a><b>"
        assert (await client.post("/kinds")).json() == [
            {"got": "model"},
            {"got": "dict"},
            {"got": "str"},
            {"got": "bytes"},
            "[1, 'x']",
            "first",
        ]
        invalid, refused, by_method, unknown = (await client.post("/errors")).json()
        assert invalid[0] == "InvalidPayload"
        assert "ns/other/unary" in invalid[1]
        assert "text: Field required" in invalid[1]
        assert refused[0] == by_method[0] == "EndpointError"
        assert "KeyError: 'no such thing'" in refused[1]
        assert unknown[0] == "UnknownEndpointError"
        assert "service 'Worker' has no endpoint 'nothing'; it has stream, unary, raw, ids, slow, refuses" in unknown[1]


async def test_request_id_and_trace_reach_the_other_side(cell: Cell) -> None:
    await start(cell, "Worker")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with httpx.AsyncClient(base_url=await front(cell), timeout=DEADLINE) as client:
        answer = await client.post("/ids", headers={"x-request-id": "r-1", "traceparent": trace})
    assert answer.json() == {"id": "r-1", "traceparent": trace}


async def test_a_reader_that_leaves_cancels_all_the_way_down(cell: Cell, journal: Path) -> None:
    await start(cell, "Worker", journal)
    base = await front(cell)
    async with httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client, client.stream("POST", "/slow") as answer:
        async for line in answer.aiter_lines():
            if line == "1":
                break
    await until_noted(journal, "slow cancelled")


async def test_a_drain_lets_running_http_requests_end(cell: Cell) -> None:
    await start(cell, "Worker")
    replica = await start(cell, "Front")
    base = (await replica.ready()).http
    async with (
        httpx.AsyncClient(base_url=base, timeout=DEADLINE) as client,
        client.stream("POST", "/slow?count=10") as answer,
    ):
        lines = []
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == "1":
                replica.process.send_signal(signal.SIGTERM)
                await replica.until(lambda status: status.state == "draining")
    assert lines == [str(index) for index in range(10)]
    assert await replica.exit_code() == 0, replica.output
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient().post(f"{base}/slow")


async def test_a_worker_that_dies_ends_streams_with_an_error_event(cell: Cell) -> None:
    worker = await start(cell, "Worker")
    async with (
        httpx.AsyncClient(base_url=await front(cell), timeout=DEADLINE) as client,
        client.stream("POST", "/slow") as answer,
    ):
        text = ""
        async for chunk in answer.aiter_text():
            text += chunk
            if text.startswith("0\n1\n") and worker.process.returncode is None:
                worker.process.kill()
                await worker.exit_code()
    event = text.partition("event: error\ndata: ")[2]
    assert json.loads(event)["error"]["type"] == "InstanceLost"


async def test_a_drain_lets_running_requests_end(cell: Cell, journal: Path) -> None:
    worker = await start(cell, "Worker", journal)
    await worker.ready()
    runtime = await DistributedRuntime.connect(cell.environment()["DYN_DISCOVERY"], scope=SCOPE, run_dir=cell.directory)
    async with runtime:
        client = await runtime.namespace("ns").component("other").endpoint("slow").client()
        items: list[Any] = []
        async for item in await client.generate(10):
            items.append(item)
            if item == 1:
                worker.process.send_signal(signal.SIGTERM)
        assert items == list(range(10))
        assert await worker.exit_code() == 0
        assert journal.read_text().splitlines()[-2:] == ["slow ends", "shutdown"]


async def test_a_drain_ends_at_its_deadline(cell: Cell, journal: Path) -> None:
    config = '{"Worker": {"ServiceArgs": {"drain_timeout": 0.2}}}'
    worker = await start(cell, "Worker", journal, DYNAMO_SERVICE_CONFIG=config)
    await worker.ready()
    runtime = await DistributedRuntime.connect(cell.environment()["DYN_DISCOVERY"], scope=SCOPE, run_dir=cell.directory)
    async with runtime:
        client = await runtime.namespace("ns").component("other").endpoint("slow").client()
        stream = await client.generate(10_000)
        await anext(stream)
        assert await worker.terminate() == 0
    assert "requests were still running after 0.2 s" in worker.output
    assert "shutdown" in journal.read_text()


async def test_a_second_signal_ends_it_at_once(cell: Cell, journal: Path) -> None:
    worker = await start(cell, "Worker", journal)
    await worker.ready()
    runtime = await DistributedRuntime.connect(cell.environment()["DYN_DISCOVERY"], scope=SCOPE, run_dir=cell.directory)
    async with runtime:
        client = await runtime.namespace("ns").component("other").endpoint("slow").client()
        stream = await client.generate(10_000)
        await anext(stream)
        worker.process.send_signal(signal.SIGINT)
        await worker.until(lambda status: status.state == "draining")
        worker.process.send_signal(signal.SIGINT)
        assert await worker.exit_code() == 1
    assert "shutdown" not in journal.read_text()


async def test_health_handlers_decide_the_state(cell: Cell, tmp_path: Path) -> None:
    switches = tmp_path / "switches"
    switches.write_text("unready")
    probes = '{"period": 0.02, "failure_threshold": 2}'
    config = f'{{"Switched": {{"ServiceArgs": {{"probes": {{"readiness": {probes}, "liveness": {probes}}}}}}}}}'
    replica = await start(cell, "Switched", SWITCHES=str(switches), DYNAMO_SERVICE_CONFIG=config)
    status = await replica.until(lambda s: s.state == "unready")
    assert status.message == "readiness ready: answered False"
    switches.write_text("")
    assert (await replica.ready()).message == ""
    switches.write_text("dead")
    status = await replica.until(lambda s: not s.alive)
    assert (status.state, status.message) == ("unready", "liveness alive: RuntimeError: engine is gone")


async def test_progress_of_a_long_start_and_system_routes(cell: Cell, tmp_path: Path) -> None:
    switches = tmp_path / "switches"
    switches.write_text("step 1")
    port = free_port()
    system = {"DYNAMO_SYSTEM_APP_ENABLED": "true", "DYNAMO_SYSTEM_APP_HOST": "127.0.0.1"}
    replica = await start(cell, "Loads", SWITCHES=str(switches), DYNAMO_SYSTEM_APP_PORT=str(port), **system)
    status = await replica.until(lambda s: s.progress == "loading weights 2/3")
    assert status.state == "starting"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "starting\n")
        switches.write_text("step 1 step 2 step 3")
        assert (await replica.ready()).progress == ""
        assert (await client.get("/readyz")).status_code == 200
        assert "# TYPE" in (await client.get("/metrics")).text
        held = (await client.get("/registered")).json()
        assert any("/replicas/" in key for key in held)
        assert (await client.get("/other")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405


async def test_replicas_that_share_an_environment_each_get_a_system_port(cell: Cell) -> None:
    port = free_port()
    system = {
        "DYNAMO_SYSTEM_APP_ENABLED": "true",
        "DYNAMO_SYSTEM_APP_HOST": "127.0.0.1",
        "DYNAMO_SYSTEM_APP_PORT": str(port),
    }
    for _ in range(2):
        await (await start(cell, "Worker", **system)).ready()
    assert f"health and metrics on port {port}" in cell.replicas[0].output
    found = re.search(r"health and metrics on port (\d+)", cell.replicas[1].output)
    assert found is not None
    assert int(found[1]) != port
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{found[1]}/readyz")).status_code == 200


async def test_a_signal_during_the_start_ends_it_cleanly(cell: Cell, tmp_path: Path) -> None:
    switches = tmp_path / "switches"
    switches.write_text("")
    replica = await start(cell, "Loads", SWITCHES=str(switches))
    await replica.until(lambda s: s.progress == "loading weights 1/3")
    assert await replica.terminate() == 0, replica.output


async def test_workers_of_one_service_share_a_port_and_strangers_do_not(cell: Cell, tmp_path: Path) -> None:
    switches = tmp_path / "switches"
    switches.write_text("step 1 step 2 step 3")
    port = str(free_port())
    first = await start(cell, "Loads", SWITCHES=str(switches), DYNAMO_PORT=port)
    second = await start(cell, "Loads", SWITCHES=str(switches), DYNAMO_PORT=port)
    await asyncio.gather(first.ready(), second.ready())
    stranger = await start(cell, "Front", DYNAMO_PORT=port)
    assert await stranger.exit_code() == 2
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in stranger.output
    answered: set[str] = set()
    async with asyncio.timeout(DEADLINE):
        while len(answered) < 2:
            async with httpx.AsyncClient() as client:
                answered.add((await client.post(f"http://127.0.0.1:{port}/ok")).json())
    assert answered == {str(first.process.pid), str(second.process.pid)}


@pytest.mark.parametrize(
    ("service", "env", "code", "message"),
    [
        ("Demands", {}, 2, "CRITICAL dynamo.sdk.replica: Demands.model must be specified in configuration\n"),
        ("Breaks", {}, 1, "the replica failed: RuntimeError: cannot load"),
        ("Nobody", {}, 2, "there is no service 'Nobody' in this graph"),
        ("Front", {"DYNAMO_SERVICE_CONFIG": "{"}, 2, "DYNAMO_SERVICE_CONFIG: not JSON"),
        ("Front", {"DYNAMO_SERVICE_CONFIG": '{"Frnt": {}}'}, 2, "Frnt: there is no service of that name; did you mean"),
        ("Front", {"DYNAMO_PORT": "http"}, 2, "DYNAMO_PORT: must be a port number from 0 to 65535, not 'http'"),
        ("Front", {"DYN_DISCOVERY": "carrier-pigeon://"}, 2, "carrier-pigeon"),
        ("Front", {"DYN_REQUEST_PLANE": "nats", "NATS_SERVER": "nats://127.0.0.1:1"}, 1, "cannot be reached"),
    ],
)
async def test_exit_codes(cell: Cell, service: str, env: dict[str, str], code: int, message: str) -> None:
    replica = await start(cell, service, **env)
    assert await replica.exit_code() == code, replica.output
    assert message in replica.output
    assert ("Traceback" in replica.output) == (code == 1)


async def test_a_component_runs_by_hand(cell: Cell) -> None:
    worker = await start(cell, "Worker")
    await worker.ready()
    port = free_port()
    by_hand = await cell.start("", "Front", cwd=HERE, argv=["life.py", "--port", str(port)])
    assert (await by_hand.ready()).http == f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
        assert (await client.post("/stream", json={"text": "x"})).text == "<x>"
    assert await by_hand.terminate() == 0


async def test_a_bad_request_reaches_a_bare_client_as_such(cell: Cell) -> None:
    await (await start(cell, "Worker")).ready()
    runtime = await DistributedRuntime.connect(cell.environment()["DYN_DISCOVERY"], scope=SCOPE, run_dir=cell.directory)
    async with runtime:
        client = await runtime.namespace("ns").component("other").endpoint("unary").client()
        with pytest.raises(InvalidPayload, match="text: Field required"):
            await (await client.generate({"nope": 1})).one()
