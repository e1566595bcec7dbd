"""What a soak shakes: a daemon, the routed example on simulated engines, a graph with GPUs, and their servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, RestartSpec, decode
from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamod.schema.locations import locations
from tests.integration.engine.support import graph, service
from tests.servers import EtcdServer, NatsServer, ServerProcess
from tests.soak.proxy import CutProxy
from tests.soak.report import Report

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "llm"
PATIENT = RestartSpec(attempts=10_000, window=60.0, delay=0.1, max_delay=1.0)
"""A soak kills more often than any budget allows; delays stay short, because readiness is timed."""
WORKERS = 3
DAEMON_AGAIN_S = 0.3


@dataclass(frozen=True)
class Found:
    """A process of a replica, found in the process table. `service` is "" for a shim."""

    pid: int
    replica: str
    service: str


class Daemon:
    """Kept running, as an init system would: started again whenever it ends."""

    def __init__(self, state: Path, clock: Path, log: Path, environ: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "tests.soak.daemon", str(clock), "--state-dir", str(state)]
        self._log = log
        self._environ = environ
        self.process: asyncio.subprocess.Process | None = None
        self.starts = 0

    async def keep_running(self) -> None:
        try:
            while True:
                with self._log.open("ab") as log:
                    self.process = await asyncio.create_subprocess_exec(
                        *self._command, stdout=log, stderr=log, env=self._environ, cwd=ROOT
                    )
                self.starts += 1
                await self.process.wait()
                await asyncio.sleep(DAEMON_AGAIN_S)
        finally:
            if self.process is not None and self.process.returncode is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
                await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.process is not None:
                self.process.send_signal(number)


class World:
    """Enter it to have everything started; its `report` takes what is found."""

    def __init__(self, directory: Path, report: Report, *, shared: bool, can_fill: bool) -> None:
        self.directory = directory
        self.report = report
        self.shared = shared
        self.can_fill = can_fill
        self.state = directory / "state"
        self.where = locations(self.state)
        self.clock = directory / "clock"
        self.filler = self.state / "filler"
        self.servers: dict[str, ServerProcess] = {}
        self.proxies: dict[str, CutProxy] = {}
        self.stopped: set[int] = set()
        self.shims_killed: set[str] = set()
        self.frontend_hurt: list[float] = []
        self.calm = asyncio.Event()
        self.port = free_port()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> World:
        self.state.mkdir(mode=0o700, exist_ok=True)
        environ = await self._servers()
        self.daemon = Daemon(self.state, self.clock, self.directory / "dynamod.log", environ)
        keeper = asyncio.create_task(self.daemon.keep_running())
        self._stack.push_async_callback(_cancelled, keeper)
        self.client = AsyncClient(Context(socket=str(self.where.api_socket)), timeout=20.0)
        await self._stack.enter_async_context(self.client)
        self.chat_spec, self.side_spec = await asyncio.to_thread(self._specs)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.mend()
        await self._stack.aclose()
        for found in self.processes():
            with suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGKILL)

    def mend(self) -> None:
        """Undo every fault that lasts."""
        for pid in list(self.stopped):
            self.go_on(pid)
        self.filler.unlink(missing_ok=True)
        self.clock.write_text("0")

    def go_on(self, pid: int) -> None:
        self.stopped.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def processes(self) -> list[Found]:
        """Every live process of a replica of this daemon, whatever the daemon says; shims have no service."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environ = process.environ()
                if not environ.get("DYN_RUN_DIR", "").startswith(str(self.where.run_dir)):
                    continue
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                words = process.cmdline()
                service = words[words.index("--service-name") + 1] if "--service-name" in words else ""
                found.append(Found(process.pid, environ["DYN_REPLICA_ID"], service))
        return found

    async def _servers(self) -> dict[str, str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("DYN", "NATS"))}
        environ |= {"DYNAMOD_GPUS": "8xH100-80GB", "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}", "DYN_LOG": "warning"}
        environ["DYN_LOCAL_STATE_DIR"] = str(self.state)
        if not self.shared:
            return environ
        etcd, nats = EtcdServer(self.directory / "etcd"), NatsServer(self.directory / "nats")
        self.servers = {"etcd": etcd, "nats": nats}
        for name, server in self.servers.items():
            await asyncio.to_thread(server.start)
            self._stack.callback(server.kill)
            self.proxies[name] = CutProxy(server.port)
            await self.proxies[name].start()
            self._stack.push_async_callback(self.proxies[name].stop)
        return environ | {
            "DYN_DISCOVERY": f"etcd://127.0.0.1:{self.proxies['etcd'].port}",
            "DYN_REQUEST_PLANE": "nats",
            "NATS_SERVER": f"nats://127.0.0.1:{self.proxies['nats'].port}",
        }

    def _specs(self) -> tuple[GraphSpec, GraphSpec]:
        command = [sys.executable, "-m", "dynamo.sdk.inspect", "graphs.agg_router:Frontend"]
        command += ["-f", "configs/agg_router.yaml", "--port", str(self.port), "--host", "127.0.0.1"]
        command += [f"--Worker.ServiceArgs.workers={WORKERS}"]
        done = subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True)
        chat = decode(done.stdout)
        chat = replace(chat, name="chat", services=tuple(replace(s, restart=PATIENT) for s in chat.services))
        side = graph(
            self.directory,
            service("Front", "Back", restart=PATIENT),
            service("Back", workers=2, gpu=0.5, envs={"CHATTY": "1"}, drain_timeout=2.0, restart=PATIENT),
            name="side",
        )
        return chat, side


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
