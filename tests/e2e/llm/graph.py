"""A graph of real processes around an embedded discovery server: what drivers do, without a control plane.

The test hosts discovery; every replica is its own interpreter, started as the replica contract says.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamo.runtime.keys import replicas_prefix
from dynamo.runtime.metrics import Registry
from dynamo.runtime.status import ReplicaStatus, decode_status
from dynamo.sdk import spec as specs

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "llm"
SCOPE = "default/test"


class RunningGraph:
    """`logs` holds one file a replica; `processes` are keyed by replica id, `<service>-<n>` in lower case."""

    def __init__(self, spec: specs.GraphSpec, directory: Path, environment: Mapping[str, str]) -> None:
        self.spec = spec
        self.directory = directory
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._environment = {
            **os.environ,
            "DYN_DISCOVERY": f"unix://{directory}/d.sock",
            "DYN_SCOPE": SCOPE,
            "DYNAMO_SERVICE_CONFIG": json.dumps(spec.config),
            "DYNAMO_HOST": "127.0.0.1",
            "DYNAMO_PORT": "0",
            **environment,
        }
        self.runtime: DistributedRuntime

    async def start(self, service: str, number: int) -> None:
        """Start one replica; its output goes to a file."""
        replica = f"{service.lower()}-{number}"
        run_dir = self.directory / replica
        run_dir.mkdir(exist_ok=True)
        with (self.directory / f"{replica}.log").open("ab") as log:
            self.processes[replica] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dynamo.sdk.replica",
                self.spec.target,
                "--service-name",
                service,
                "--worker-id",
                str(number),
                cwd=self.spec.working_dir,
                env={**self._environment, "DYN_REPLICA_ID": replica, "DYN_RUN_DIR": str(run_dir)},
                stdout=log,
                stderr=log,
            )

    async def statuses(self) -> dict[str, ReplicaStatus]:
        snapshot = await self.runtime.discovery.get_prefix(replicas_prefix(SCOPE))
        return {status.replica_id: status for status in (decode_status(item.value) for item in snapshot.items)}

    async def ready(self, replica: str, seconds: float = 600.0) -> ReplicaStatus:
        """Its status once it is ready. A replica that ends instead is an error with its last lines."""
        async with asyncio.timeout(seconds):
            while True:
                status = (await self.statuses()).get(replica)
                if status is not None and status.state == "ready":
                    return status
                if (code := self.processes[replica].returncode) is not None:
                    raise AssertionError(f"{replica} ended with {code}:\n{self.log(replica)}")
                await asyncio.sleep(0.02)

    async def metrics(self, replica: str, prefix: str) -> dict[str, float]:
        """A replica's present values of the metrics whose names begin so."""
        status = (await self.statuses())[replica]
        async with await self.runtime.peer(status.address).call("_system/metrics", None) as stream:
            message = await anext(aiter(stream))
        return {name: value for name, _, value, _ in message["samples"] if name.startswith(prefix)}

    def log(self, replica: str) -> str:
        return (self.directory / f"{replica}.log").read_text()[-4000:]

    async def start_all(self) -> str:
        """Start everything in dependency order; the entry service's URL."""
        for wave in self.spec.start_order():
            names = [(s, n) for s in wave for n in range(1, self.spec.service(s).workers + 1)]
            for service, number in names:
                await self.start(service, number)
            await asyncio.gather(*(self.ready(f"{service.lower()}-{number}") for service, number in names))
        return (await self.ready(f"{self.spec.entry.lower()}-1")).http

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*(process.wait() for process in self.processes.values()))
        finally:
            for process in self.processes.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def inspect(target: str, config: Path, overrides: list[str]) -> list[str]:
    return [sys.executable, "-m", "dynamo.sdk.inspect", target, "-f", str(config), *overrides]


@asynccontextmanager
async def running(
    target: str, config: str, *overrides: str, **environment: str
) -> AsyncIterator[tuple[RunningGraph, str]]:
    """A graph of the LLM example, started; yields it and the frontend's URL."""
    async with graph_of(target, config, *overrides, **environment) as graph:
        yield graph, await graph.start_all()


@asynccontextmanager
async def graph_of(target: str, config: str, *overrides: str, **environment: str) -> AsyncIterator[RunningGraph]:
    """A graph of the LLM example, with discovery but without any replica yet. What was started is stopped."""
    found = await asyncio.create_subprocess_exec(
        *inspect(target, EXAMPLE / config, list(overrides)),
        cwd=EXAMPLE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await found.communicate()
    assert found.returncode == 0, err.decode()
    directory = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    graph = RunningGraph(specs.decode(out), directory, environment)
    server = LocalDiscoveryServer(directory / "d.sock")
    await server.start()
    try:
        graph.runtime = await DistributedRuntime.connect(
            f"unix://{directory}/d.sock", scope=SCOPE, run_dir=directory, metrics=Registry()
        )
        async with graph.runtime:
            try:
                yield graph
            finally:
                await graph.stop()
    finally:
        await server.stop()
        shutil.rmtree(directory, ignore_errors=True)
