"""A daemon's face over a Unix socket, serving a world that a test controls: real HTTP, real server-sent events.

Run it by hand to look at the dashboard: `python -m tests.unit.dynamo_tui.tui.stand_in /tmp/api.sock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dynamod.schema import Event, Graph, LogLine, Page, Plan, PlanRequest, Problem, Replica, Series
from dynamod.schema.builds import Build
from tests.unit.dynamo_tui.tui import kv_world, plan_world, world

HEADERS = {"Dynamod-API-Version": "1"}


def answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, HEADERS, "application/json")


class StandIn:
    """One world, its listeners, and the requests it has had. `stale`: so many plans are refused when applied."""

    def __init__(self, *, moving: bool = False) -> None:
        self.moving = moving
        self.graphs: dict[str, Graph] = {g.name: g for g in (world.ROUTER_GRAPH, world.HELLO_GRAPH)}
        self.replicas: dict[str, Replica] = {r.id: r for r in world.REPLICAS}
        self.events: list[Event] = world.events()
        self.lines: list[LogLine] = [world.log_line(n, world.NOW - 40 + n * 0.2) for n in range(200)]
        self.builds: list[Build] = world.builds()
        self.lines_per_s = 0.0
        self.decisions = 40
        self.requests: list[tuple[str, str, bytes]] = []
        self.open_streams: list[str] = []
        self.refuse: Problem | None = None
        self.plans = 0
        self.stale = 0
        self._moved = asyncio.Condition()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self, path: Path) -> None:
        self.closed = False
        config = uvicorn.Config(
            self._app(),
            uds=str(path),
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,  # as the daemon has it: longer than the client keeps a connection
        )
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(10):
            while not self._server.started:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.closed = True
        await self.moved()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    async def moved(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def emit(self, event: Event) -> None:
        self.events.append(event)
        await self.moved()

    async def write(self, *lines: LogLine) -> None:
        self.lines += lines
        await self.moved()

    # -- routes ---------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        get = {
            "/v1/info": lambda r: answer(msgspec.structs.replace(world.INFO, last_seq=self.events[-1].seq)),
            "/v1/graphs": lambda r: answer(Page(items=list(self.graphs.values()))),
            "/v1/graphs/{graph}": lambda r: answer(self.graphs[r.path_params["graph"]]),
            "/v1/graphs/{graph}/replicas": lambda r: answer(
                Page(items=[x for x in self.replicas.values() if x.graph == r.path_params["graph"]])
            ),
            "/v1/replicas": lambda r: answer(Page(items=list(self.replicas.values()))),
            "/v1/replicas/{id}/why": lambda r: answer(world.why(self.replicas[r.path_params["id"]])),
            "/v1/events": self._past_events,
            "/v1/builds": lambda r: answer(Page(items=self.builds)),
            "/v1/builds/{tag}": self._build,
            "/v1/gpus": lambda r: answer(world.gpus()),
            "/v1/graphs/{graph}/logs": self._logs,
            "/v1/graphs/{graph}/metrics/names": lambda r: answer(sorted(world.past_metrics())),
            "/v1/graphs/{graph}/metrics": lambda r: answer(self._metric(r.query_params)),
            "/v1/graphs/{graph}/kv/series": lambda r: answer(
                kv_world.kv_series(by=r.query_params.get("by", "graph")) if self._has_kv(r) else []
            ),
            "/v1/graphs/{graph}/kv": lambda r: answer(kv_world.past_snapshot(float(r.query_params["at"]))),
            "/v1/graphs/{graph}/revisions/{number:int}": lambda r: answer(world.revision(r.path_params["number"])),
            "/v1/graphs/{graph}/revisions": lambda r: answer(Page(items=world.revisions())),
        }
        streams = {
            "/v1/events/stream": self._event_stream,
            "/v1/graphs/{graph}/logs/stream": self._log_stream,
            "/v1/graphs/{graph}/rates/stream": self._rate_stream,
            "/v1/graphs/{graph}/kv/stream": self._kv_stream,
            "/v1/gpus/stream": self._gpu_stream,
        }
        routes = [Route(p, self._getting(f)) for p, f in get.items()]
        routes += [Route(p, self._streaming(f)) for p, f in streams.items()]
        routes += [Route("/{path:path}", self._command, methods=["POST", "DELETE"])]
        return Starlette(routes=routes)

    def _getting(self, make: Any) -> Any:
        async def serve(request: Request) -> Response:
            return make(request)

        return serve

    def _streaming(self, make: Any) -> Any:
        async def serve(request: Request) -> Response:
            name = request.url.path

            async def body() -> AsyncIterator[bytes]:
                self.open_streams.append(name)
                try:
                    yield b": hello\n\n"
                    async for event, data, number in make(request):
                        head = f"event: {event}\n" + (f"id: {number}\n" if number is not None else "")
                        yield head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
                finally:
                    self.open_streams.remove(name)

            return StreamingResponse(body(), headers=HEADERS, media_type="text/event-stream")

        return serve

    def _has_kv(self, request: Request) -> bool:
        return request.path_params["graph"] == "agg_router"

    def _past_events(self, request: Request) -> Response:
        after = int(request.query_params.get("after", 0))
        limit = int(request.query_params.get("limit", 100))
        return answer(Page(items=[e for e in self.events if e.seq > after][:limit]))

    def _metric(self, query: Any) -> list[Series]:
        """One metric of the services, or of the replica that is named; points up to the time that is named."""
        until = float(query.get("until", "inf"))
        found = world.past_metrics(self.replicas.get(query.get("replica", "")))[query["name"]]
        return [msgspec.structs.replace(s, points=[p for p in s.points if p[0] <= until]) for s in found]

    def _kept(self, line: LogLine, request: Request) -> bool:
        query = request.query_params
        owner = self.replicas.get(line.replica)
        return (
            (owner is None or owner.graph == request.path_params["graph"])
            and line.t <= float(query.get("until", "inf"))
            and (not query.get("service") or line.service == query["service"])
            and (not query.get("replica") or line.replica == query["replica"])
            and (not query.get("regex") or re.search(query["regex"], line.text) is not None)
            and (not query.get("level") or line.level == query["level"])
        )

    def _logs(self, request: Request) -> Response:
        query = request.query_params
        since = float(query.get("since", "-inf"))
        kept = [line for line in self.lines if since <= line.t and self._kept(line, request)]
        if "since" in query and "tail" not in query:
            return answer(Page(items=kept[: int(query.get("limit", 100))]))
        return answer(Page(items=kept[-int(query.get("tail", 100)) :]))

    async def _waits(self, timeout: float | None = None) -> None:
        async with self._moved:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), timeout)

    async def _event_stream(self, request: Request) -> AsyncIterator[tuple[str, Any, int]]:
        seq = int(request.headers.get("last-event-id") or request.query_params.get("after", 0))
        while not self.closed:
            for event in [e for e in self.events if e.seq > seq]:
                seq = event.seq
                yield "event", event, seq
            await self._waits()

    async def _log_stream(self, request: Request) -> AsyncIterator[tuple[str, Any, None]]:
        query = request.query_params
        since = float(query.get("since", "-inf"))
        first = [line for line in self.lines if line.t >= since and self._kept(line, request)]
        for line in first[-int(query.get("tail", len(first) or 1)) :]:
            yield "line", line, None
        seen = len(self.lines)
        number = seen
        while not self.closed:
            await self._waits(0.05 if self.lines_per_s else None)
            for line in self.lines[seen:]:
                if self._kept(line, request):
                    yield "line", line, None
            seen = len(self.lines)
            for _ in range(int(self.lines_per_s * 0.05)):
                line = world.log_line(number, time.time())
                number += 1
                if self._kept(line, request):
                    yield "line", line, None

    async def _rate_stream(self, request: Request) -> AsyncIterator[tuple[str, Any, None]]:
        graph = self.graphs[request.path_params["graph"]]
        while not self.closed:
            yield "rates", world.rates(graph, time.time() if self.moving else 0.0), None
            await self._waits(1.0 if self.moving else None)

    async def _kv_stream(self, request: Request) -> AsyncIterator[tuple[str, Any, None]]:
        while not self.closed and self._has_kv(request):
            t = time.time() if self.moving else world.NOW
            yield "snapshot", kv_world.kv_snapshot(t, self.decisions), None
            await self._waits(1.0 if self.moving else None)
            if self.moving:
                self.decisions += 2
        while not self.closed:
            await self._waits()

    async def _gpu_stream(self, request: Request) -> AsyncIterator[tuple[str, Any, None]]:
        while not self.closed:
            yield "gpus", world.gpus(), None
            await self._waits()

    def _build(self, request: Request) -> Response:
        tag = request.path_params["tag"]
        found = next((b for b in self.builds if b.tag == tag), None)
        if found is None:
            return self._problem(Problem(type="not-found", title="Not found", status=404, detail=f"no build {tag!r}"))
        return answer(found)

    def _problem(self, problem: Problem) -> Response:
        return Response(msgspec.json.encode(problem), problem.status, HEADERS, "application/problem+json")

    def _plan(self, asked: PlanRequest) -> Plan:
        self.plans += 1
        plan = world.PLAN if asked.change is None else plan_world.plan_of(asked.change)
        return msgspec.structs.replace(plan, id=f"p{self.plans}")

    async def _command(self, request: Request) -> Response:
        """Notes what was asked for; answers with the graph, or refuses when told to."""
        body = await request.body()
        self.requests.append((request.method, request.url.path, body))
        if self.refuse is not None:
            return self._problem(self.refuse)
        if request.method == "DELETE":
            return Response(status_code=204, headers=HEADERS)
        if request.url.path == "/v1/plans":
            return answer(self._plan(msgspec.json.decode(body, type=PlanRequest)), 201)
        if request.url.path.endswith("/apply") and self.stale:
            self.stale -= 1
            return self._problem(plan_world.STALE)
        parts = request.url.path.strip("/").split("/")
        name = parts[2] if len(parts) > 2 and parts[2] in self.graphs else next(iter(self.graphs))
        return answer(self.graphs[name])


async def main(path: Path) -> None:
    daemon = StandIn(moving=True)
    world.NOW = time.time()
    daemon.lines = [world.log_line(n, world.NOW - 40 + n * 0.2) for n in range(200)]
    daemon.lines_per_s = 20.0
    await daemon.start(path)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
