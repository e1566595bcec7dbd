"""A daemon's face that does nothing but load a dashboard: many graphs, many events, very many log lines.

Its answers are encoded beforehand, so that what is measured is the reader. Run by `measure` in a process of its own:
`python -m benchmarks.tui.load SOCKET EVENTS_PER_S LINES_PER_S`. LINES_PER_S 0 sends as fast as the reader takes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime

import msgspec

from dynamod.schema import (
    Action,
    DaemonInfo,
    Event,
    Graph,
    GraphState,
    LogLine,
    Page,
    Reason,
    Replica,
    ReplicaState,
    ServiceRates,
    ServiceStatus,
)

GRAPHS = 100
REPLICAS_PER_GRAPH = 10
TICK_S = 0.05
NOW = datetime.now(UTC)


def graph(number: int) -> Graph:
    service = ServiceStatus(
        name="Worker",
        component="Worker",
        namespace="dynamo",
        desired=REPLICAS_PER_GRAPH,
        ready=REPLICAS_PER_GRAPH,
        total=REPLICAS_PER_GRAPH,
    )
    return Graph(
        id=f"g{number}",
        project="default",
        name=f"graph-{number:03}",
        driver="process",
        state=GraphState.READY,
        reason=Reason.ALL_READY,
        revision=1,
        digest="d",
        entry="Worker",
        services=[service],
        created_at=NOW,
        updated_at=NOW,
    )


def replica(number: int, restarts: int = 0) -> Replica:
    return Replica(
        id=f"replica-{number:05}",
        project="default",
        graph=f"graph-{number // REPLICAS_PER_GRAPH:03}",
        service="Worker",
        index=number % REPLICAS_PER_GRAPH + 1,
        revision=1,
        driver="process",
        state=ReplicaState.READY,
        reason=Reason.PROBE_SUCCEEDED,
        pid=10_000 + number,
        restarts=restarts,
        created_at=NOW,
        started_at=NOW,
        updated_at=NOW,
    )


def event(seq: int) -> bytes:
    changed = replica(seq % (GRAPHS * REPLICAS_PER_GRAPH), restarts=seq % 7)
    one = Event(
        seq=seq,
        at=datetime.now(UTC),
        actor="engine",
        action=Action.REPLICA_STATE,
        project="default",
        graph=changed.graph,
        service="Worker",
        replica=changed.id,
        reason=changed.reason,
        data=msgspec.to_builtins(changed),
    )
    return b"id: %d\nevent: event\ndata: %s\n\n" % (seq, msgspec.json.encode(one))


def lines(start: int, number: int) -> bytes:
    now = time.time()
    encode = msgspec.json.encode
    return b"".join(
        b"event: line\ndata: %s\n\n"
        % encode(
            LogLine(
                t=now,
                replica=f"replica-{n % 4:05}",
                service="Worker",
                line=n,
                level="info",
                text=f"request r{n} finished: prompt 2048 tokens, 64 out, 1984 from cache, 412 ms",
            )
        )
        for n in range(start, start + number)
    )


class Load:
    def __init__(self, events_per_s: float, lines_per_s: float) -> None:
        self.events_per_s = events_per_s
        self.lines_per_s = lines_per_s
        self.seq = 0

    def answer(self, path: str) -> bytes:
        if path == "/v1/info":
            return msgspec.json.encode(
                DaemonInfo(version="load", pid=1, started_at=NOW, state_dir="", last_seq=self.seq)
            )
        if path == "/v1/graphs":
            return msgspec.json.encode(Page(items=[graph(n) for n in range(GRAPHS)]))
        if path == "/v1/replicas":
            return msgspec.json.encode(Page(items=[replica(n) for n in range(GRAPHS * REPLICAS_PER_GRAPH)]))
        return msgspec.json.encode(Page(items=[]))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode().split("?")[0]
                if path.endswith("/stream"):
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n"
                    )
                    await self.stream(path, writer)
                    return
                body = self.answer(path)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()

    async def stream(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/v1/events/stream":
            while True:
                for _ in range(max(1, round(self.events_per_s * TICK_S)) if self.events_per_s else 0):
                    self.seq += 1
                    writer.write(event(self.seq))
                await writer.drain()
                await asyncio.sleep(TICK_S)
        if path.endswith("/rates/stream"):
            rates = [ServiceRates(service="Worker", requests_per_s=1.0)]
            writer.write(b"event: rates\ndata: %s\n\n" % msgspec.json.encode(rates))
        if path.endswith("/logs/stream"):
            await self.logs(writer)
        await asyncio.Event().wait()

    async def logs(self, writer: asyncio.StreamWriter) -> None:
        """Lines at a steady rate, or, flooding, one prepared batch again and again."""
        number = 0
        batch = lines(0, 1_000)
        while True:
            if self.lines_per_s:
                size = round(self.lines_per_s * TICK_S)
                writer.write(lines(number, size))
                number += size
                await asyncio.sleep(TICK_S)
            else:
                writer.write(batch)
            await writer.drain()


async def main(path: str, events_per_s: float, lines_per_s: float) -> None:
    load = Load(events_per_s, lines_per_s)
    server = await asyncio.start_unix_server(load.serve, path)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
