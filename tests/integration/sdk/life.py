"""A graph whose services write down what happens to them, for the tests beside it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dynamo.sdk import (
    api,
    async_on_start,
    depends,
    dynamo_context,
    endpoint,
    liveness,
    on_deployment,
    on_shutdown,
    on_startup,
    readiness,
    report_progress,
    server_context,
    service,
)

JOURNAL = Path(os.environ.get("JOURNAL", os.devnull))
SWITCHES = Path(os.environ.get("SWITCHES", os.devnull))


def note(text: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{text}\n")


class Request(BaseModel):
    text: str


class Base:
    @async_on_start
    async def inherited(self) -> None:
        note("inherited start")


@service(dynamo={"namespace": "ns", "name": "other", "custom_lease": {"ttl": 3}}, drain_timeout=10)
class Worker(Base):
    def __init__(self, message: str = "none", block_size: int = 0) -> None:
        context = {k: dynamo_context[k] for k in ("service_name", "worker_id", "namespace")}
        assert dynamo_context["endpoints"][0].lease_id() == dynamo_context["lease"].id() > 0
        assert [e.name for e in dynamo_context["endpoints"]] == ["stream", "unary", "raw", "ids", "slow", "refuses"]
        assert dynamo_context["component"].name == server_context.component.name == "other"
        assert dynamo_context["runtime"].namespace("ns") is not None
        assert server_context.runtime.scope == os.environ["DYN_SCOPE"]
        note(f"init {message} {block_size} {context} {server_context.worker_index}")

    @staticmethod
    @on_startup
    def before_anything() -> None:
        note("static startup")

    @on_deployment
    def deployed() -> None:  # type: ignore[misc]
        if os.environ.get("DEPLOYMENT") == "hang":
            note("deployment hangs")
            time.sleep(60)
        note("deployment")

    @async_on_start
    def sync_start(self) -> None:
        note("sync start")

    @on_startup
    async def startup(self) -> None:
        assert await dynamo_context["endpoints"][0].lease_id() == dynamo_context["lease"].id()
        note("startup")

    @on_shutdown
    async def bye(self) -> None:
        note("shutdown")

    @endpoint()
    async def stream(self, request: Request):
        for word in request.text.split():
            yield word

    @endpoint()
    async def unary(self, request: Request):
        return {"got": request.text}

    @endpoint()
    async def raw(self, payload):
        return repr(payload)

    @endpoint()
    async def ids(self, payload, context: Any):
        yield {"id": context.id, "traceparent": context.traceparent}

    @endpoint()
    async def slow(self, count: int):
        try:
            note("slow begins")
            for index in range(count):
                yield index
                await asyncio.sleep(0.05)
            note("slow ends")
        except asyncio.CancelledError:
            note("slow cancelled")
            raise

    @endpoint(name="refuses")
    async def refusing(self, payload):
        raise KeyError("no such thing")


@service
class Front:
    worker = depends(Worker)

    @api
    async def stream(self, body: Request):
        async for word in self.worker.stream(body):
            yield f"<{word}>"

    @api
    async def kinds(self):
        return [
            await self.worker.unary(Request(text="model")),
            await self.worker.unary({"text": "dict"}),
            await self.worker.unary('{"text": "str"}'),
            await self.worker.unary(b'{"text": "bytes"}'),
            await self.worker.raw([1, "x"]),
            await self.worker.stream({"text": "first of several"}),
        ]

    @api
    async def errors(self):
        found = []
        for make in (
            lambda: self.worker.unary({"nope": 1}),
            lambda: self.worker.refuses(1),
            lambda: self.worker.refusing(1),
            lambda: self.worker.nothing(1),
        ):
            try:
                await make()
            except Exception as error:
                found.append([type(error).__name__, str(error)])
        return found

    @api
    async def ids(self):
        return await self.worker.ids(None)

    @api
    async def slow(self, count: int = 1000):
        async for index in self.worker.slow(count):
            yield f"{index}\n"


@service
class Switched:
    """Its health is what the file named by SWITCHES says."""

    @readiness
    def ready(self) -> bool:
        return "unready" not in SWITCHES.read_text()

    @liveness
    async def alive(self) -> bool:
        if "dead" in SWITCHES.read_text():
            raise RuntimeError("engine is gone")
        return True

    @endpoint()
    async def ask(self, payload):
        return payload


@service
class Loads:
    @async_on_start
    async def load(self) -> None:
        for step in range(1, 4):
            report_progress(f"loading weights {step}/3")
            while f"step {step}" not in SWITCHES.read_text():
                await asyncio.sleep(0.01)

    @api
    async def ok(self) -> str:
        return str(os.getpid())


@service
class Demands:
    def __init__(self, model: str) -> None: ...


@service
class Breaks:
    def __init__(self) -> None:
        raise RuntimeError("cannot load")


@service
class Entry:
    front = depends(Front)
    switched = depends(Switched)
    loads = depends(Loads)
    demands = depends(Demands)
    breaks = depends(Breaks)


if __name__ == "__main__":
    Front.serve()
