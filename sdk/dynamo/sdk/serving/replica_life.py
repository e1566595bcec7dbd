"""One replica from start to exit.

starting   on_startup (static) -> __init__ -> on_startup -> async_on_start -> endpoints, HTTP -> health
ready      until a signal, or until something that must not fail has failed
draining   leave discovery, stop listening, let running requests end, on_shutdown
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.bindings.bound import BoundLease, bind
from dynamo.runtime.errors import DiscoveryError
from dynamo.runtime.settings import from_environment
from dynamo.sdk.client import DependencyClient
from dynamo.sdk.config import own_keys, read_port
from dynamo.sdk.context import dynamo_context
from dynamo.sdk.errors import ExitCode
from dynamo.sdk.graph import DEFAULT_HTTP_HOST, DEFAULT_HTTP_PORT, Graph
from dynamo.sdk.hooks import Hook, run_hooks, run_static_hooks
from dynamo.sdk.services import Service
from dynamo.sdk.serving.construction import constructor_arguments
from dynamo.sdk.serving.deployment import deployed_once, deployment_id
from dynamo.sdk.serving.handlers import request_handler
from dynamo.sdk.serving.health import HEALTHY, HealthCheck, HealthMonitor, Verdict
from dynamo.sdk.serving.listening import PortInUse, listen, listen_beside_siblings
from dynamo.sdk.serving.reporting import Reporter, set_reporter

if TYPE_CHECKING:
    import socket

    from dynamo.sdk.serving.web_server import WebServer

logger = logging.getLogger(__name__)

_HOOK_GRACE = 10.0  # seconds that shutdown hooks get beyond the drain time-out
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


class Replica:
    """Runs one instance of a service in this process until it is told to stop."""

    def __init__(self, graph: Graph, service: Service[Any], *, worker_id: int, environ: Mapping[str, str]) -> None:
        self.service = service
        self.worker_id = worker_id
        self.ready = asyncio.Event()
        self._graph = graph
        self._keys = own_keys(graph.config, service.name)
        self._environ = environ
        self._stop = asyncio.Event()
        self._draining = False
        self._instance: Any = None
        self._http: WebServer | None = None
        self._system: WebServer | None = None
        self._monitor: asyncio.Task[None] | None = None
        self._served: list[Any] = []
        self._readiness: HealthCheck | None = None
        self._liveness: HealthCheck | None = None

    def stop(self) -> None:
        """Begin to drain. A second call ends the process at once."""
        if self._stop.is_set():
            logger.warning("told to stop again: ending without a drain")
            os._exit(ExitCode.FAILURE)
        self._stop.set()

    def handle_signals(self) -> None:
        """Drain on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def run(self) -> None:
        """The whole life.

        Raises:
            SdkError: a configuration that cannot work; starting again will not help.
            Exception: whatever the author's code raised before the replica was ready.
        """
        namespace, _ = self.service.dynamo_address()
        dynamo_context.update(
            service_name=self.service.name,
            runner_map=self._environ.get("DYNAMO_RUNNER_MAP"),
            worker_id=self.worker_id,
            worker_count=self.service.config.workers,
            namespace=namespace,
        )
        settings = from_environment(self._environ)
        if self.service.lease is not None:
            settings = msgspec.structs.replace(settings, lease_ttl=float(self.service.lease.ttl))
        runtime = await DistributedRuntime.connect(settings=settings)
        try:
            run = self._environ.get("DYN_REPLICA_RUN", "")
            reporter = Reporter(
                runtime,
                self._environ.get("DYN_REPLICA_ID") or _own_id(self.service),
                self.service.name,
                run=int(run) if run.isdecimal() else 0,
            )
            set_reporter(reporter)
            async with asyncio.TaskGroup() as tasks:
                progress = tasks.create_task(reporter.publish_progress())
                await reporter.report()
                started = await self._until_started(tasks, runtime, reporter)
                if started:
                    await self._stop.wait()
                await self._drain(runtime, reporter)
                progress.cancel()
        finally:
            set_reporter(None)
            await runtime.shutdown()

    # -- starting

    async def _until_started(self, tasks: asyncio.TaskGroup, runtime: DistributedRuntime, reporter: Reporter) -> bool:
        """Start, unless told to stop meanwhile; says whether it did."""
        starting = asyncio.ensure_future(self._start(tasks, runtime, reporter))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                return True
            logger.info("told to stop while starting")
            return False
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _start(self, tasks: asyncio.TaskGroup, runtime: DistributedRuntime, reporter: Reporter) -> None:
        service = self.service
        namespace, component_name = service.dynamo_address()
        component = runtime.namespace(namespace).component(component_name)
        await component.create_service()
        offered = service.get_endpoints() if service.config.dynamo.enabled else {}
        endpoints = {name: component.endpoint(name) for name, e in offered.items() if e.on_request_plane}
        bound = await bind(runtime)
        shown = bound.namespace(namespace).component(component_name)
        dynamo_context.update(
            runtime=bound,
            component=shown,
            endpoints=[shown.endpoint(name) for name in endpoints],
            lease=BoundLease(await runtime.instance_id()),
        )
        await self._start_system_server(tasks, runtime)

        await deployed_once(runtime, self._graph.services, deployment_id(self._graph.target, self._graph.config))
        await run_static_hooks(service.inner, Hook.STARTUP)
        self._instance = service.inner(**constructor_arguments(service, self._keys))
        for hook in (Hook.STARTUP, Hook.START):
            await run_hooks(self._instance, hook)

        for edge in service.dependencies.values():
            tasks.create_task(_open(edge.client))
        http = await self._start_http_server(tasks, runtime, reporter)
        for name, endpoint in endpoints.items():
            handler, request_type = request_handler(offered[name], self._instance)
            self._served.append(endpoint.serve_endpoint(handler, request_type=request_type))
        probes = service.config.probes
        self._readiness = HealthCheck(self._instance, Hook.READINESS, probes.readiness)
        self._liveness = HealthCheck(self._instance, Hook.LIVENESS, probes.liveness or probes.readiness)
        monitor = HealthMonitor(self._readiness, self._liveness, lambda: self._report_health(reporter))
        await asyncio.gather(self._readiness.update(), self._liveness.update())
        await self._tell_clients(self._readiness.verdict.healthy)
        await asyncio.gather(*(served.start() for served in self._served))
        await reporter.report(instance_id=await runtime.instance_id(), http=http, address=runtime.address, progress="")
        await self._report_health(reporter)
        self._monitor = tasks.create_task(monitor.run())
        self.ready.set()
        where = f", HTTP on {http}" if http else ""
        logger.info("%s is up (%s)%s", service.name, ", ".join(offered) or "no endpoints", where)

    async def _report_health(self, reporter: Reporter) -> None:
        if self._draining or self._readiness is None or self._liveness is None:
            return
        alive, ready = self._liveness.verdict, self._readiness.verdict
        healthy = alive.healthy and ready.healthy
        message = alive.message or ready.message
        if message:
            logger.warning("unhealthy: %s", message)
        await reporter.report(state="ready" if healthy else "unready", message=message, alive=alive.healthy)
        await self._tell_clients(healthy)

    async def _tell_clients(self, healthy: bool) -> None:
        """Whether requests should come here, as long as there is another instance."""
        try:
            await asyncio.gather(*(served.set_status("ready" if healthy else "busy") for served in self._served))
        except DiscoveryError as error:
            logger.warning("clients could not be told: %s", error)

    # -- HTTP

    async def _start_http_server(
        self, tasks: asyncio.TaskGroup, runtime: DistributedRuntime, reporter: Reporter
    ) -> str:
        """Listen for the service's own routes; the base URL, or "" for a service without any."""
        if not self.service.serves_http:
            return ""
        from dynamo.sdk.serving.request_scope import RequestScope

        said = self.service.config
        # Whoever starts replicas has weighed what the service asks for already: the environment comes first.
        host = self._environ.get("DYNAMO_HOST") or said.http_host or DEFAULT_HTTP_HOST
        asked = DEFAULT_HTTP_PORT if said.http_port is None else said.http_port
        port = read_port(self._environ, "DYNAMO_PORT", asked)
        app = self.service.plain_app
        if app is None:
            from dynamo.sdk.serving.http_app import build_app

            app = build_app(self.service, self._instance)
        listening = await listen_beside_siblings(runtime, reporter.status, host, port)
        websockets = any("WebSocket" in type(route).__name__ for route in getattr(app, "routes", ()))
        scoped = RequestScope(app, self.service.name, runtime.metrics)
        self._http = await self._serve_web(tasks, scoped, listening, websockets=websockets)
        reachable = self._environ.get("DYN_TCP_HOST") or "127.0.0.1" if host in _WILDCARDS else host
        return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{self._http.port}"

    async def _start_system_server(self, tasks: asyncio.TaskGroup, runtime: DistributedRuntime) -> None:
        """`/healthz`, `/readyz` and `/metrics`, from before the constructor on, where the environment asks for it."""
        if self._environ.get("DYNAMO_SYSTEM_APP_ENABLED", "").lower() not in ("1", "true", "yes"):
            return
        from dynamo.sdk.serving.system_app import SystemApp

        host = self._environ.get("DYNAMO_SYSTEM_APP_HOST") or "0.0.0.0"  # noqa: S104 - orchestrators probe from outside
        port = read_port(self._environ, "DYNAMO_SYSTEM_APP_PORT", 0)
        try:
            listening = listen(host, port)
        except PortInUse as error:
            # In a container the port is this replica's alone; on one host, replicas share their environment.
            logger.warning("%s; taking a free one for health and metrics", error)
            listening = listen(host, 0)
        app = SystemApp(
            self._alive, self._is_ready, runtime.metrics, runtime.registered, self.service.author_system_app
        )
        self._system = await self._serve_web(tasks, app, listening)
        logger.info("health and metrics on port %d", self._system.port)

    async def _serve_web(
        self, tasks: asyncio.TaskGroup, app: Any, listening: socket.socket, *, websockets: bool = False
    ) -> WebServer:
        from dynamo.sdk.serving.web_server import WebServer

        server = WebServer(app, listening, drain_timeout=self.service.config.drain_timeout, websockets=websockets)
        await server.start(tasks)
        return server

    async def _alive(self) -> Verdict:
        return HEALTHY if self._liveness is None else await self._liveness.ask()

    async def _is_ready(self) -> Verdict:
        if self._draining:
            return Verdict(False, "draining")
        if not self.ready.is_set() or self._readiness is None:
            return Verdict(False, "starting")
        return await self._readiness.ask()

    # -- the end

    async def _drain(self, runtime: DistributedRuntime, reporter: Reporter) -> None:
        timeout = self.service.config.drain_timeout
        self._draining = True
        logger.info("draining, at most %g s", timeout)
        await reporter.report(state="draining", message="")
        # Calls that HTTP requests make still need the runtime's clients; those live until its shutdown.
        http_stopped = self._http.stop() if self._http is not None else asyncio.sleep(0)
        idle, _ = await asyncio.gather(runtime.drain(timeout), http_stopped)
        if not idle:
            logger.warning("requests were still running after %g s and are cancelled", timeout)
        if self._monitor is not None:
            self._monitor.cancel()
        if self._instance is not None:
            try:
                async with asyncio.timeout(_HOOK_GRACE):
                    await run_hooks(self._instance, Hook.SHUTDOWN)
            except Exception:
                logger.exception("a shutdown hook failed")
        if self._system is not None:
            await self._system.stop()


async def _open(client: DependencyClient) -> None:
    """Begin to follow a dependency's instances, so that the first request finds them known."""
    try:
        await DependencyClient.open(client)
    except DiscoveryError as error:
        logger.warning("%r will look for instances at its first call: %s", client, error)


def _own_id(service: Service[Any]) -> str:
    return f"{service.name.lower()}-{os.getpid()}"
