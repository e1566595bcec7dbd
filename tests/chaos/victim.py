"""An engine that is made to die: `python victim.py STATE_DIR DEMO_SPEC SERVED_SPEC SEEN WHEN`.

WHEN is `before:KIND`, `after:KIND` (it kills itself at that side of the first commit of that kind), `before:#N`,
`after:#N` (of its N-th commit), or `run` (it waits to be killed). Each kind of commit that it has met is appended to
the file SEEN, one a line, and so is where it died (`! side kind`): whoever runs it learns which boundaries there are.

Whatever it finds it takes up. Then it changes things without end: the demo graph in every way, the served one only in
ways that its callers must not notice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, decode
from dynamod.core.errors import EngineError
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, RestartRequest, StopRequest, locations
from dynamod.store.changes import Transaction
from dynamod.store.database import Store

SERVED_SERVICE = "Back"


def kinds(transaction: Transaction) -> Iterable[str]:
    """What a transaction does, in words: its events, and changes of claims."""
    for draft in transaction.drafts:
        state = draft.data.get("state")
        yield f"{draft.action}={state}" if state else str(draft.action)
    for operation, table, _ in transaction.operations:
        if table.name == "gpu_claims":
            yield f"{operation} gpu_claims"
    if not transaction.drafts:
        yield "no event"


def die_at(when: str, seen: Path) -> None:
    """Arrange for death at a transaction boundary, and write down which there are."""
    side, _, where = when.partition(":")
    write_batch = Store._write_batch
    met: set[str] = set()
    count = 0

    def note(line: str) -> None:
        with seen.open("a") as file:
            file.write(f"{line}\n")

    def dying(self: Store, connection: Any, batch: Any) -> None:
        nonlocal count
        count += 1
        here = {kind for pending in batch for kind in kinds(pending.transaction)}
        for kind in here - met:
            note(kind)
        met.update(here)
        dies = where == f"#{count}" or where in here
        boundary = where if where in here else min(here, default="")
        if dies and side == "before":
            note(f"! before {boundary}")
            os.kill(os.getpid(), signal.SIGKILL)
        write_batch(self, connection, batch)
        if dies and side == "after":
            note(f"! after {boundary}")
            os.kill(os.getpid(), signal.SIGKILL)

    Store._write_batch = dying  # type: ignore[method-assign]


async def main() -> None:
    state, demo_file, served_file, seen, when = sys.argv[1:6]
    die_at(when, Path(seen))
    demo, served = (decode(Path(file).read_bytes()) for file in (demo_file, served_file))
    async with Engine(locations(Path(state))) as engine:
        print("up", flush=True)  # noqa: T201
        step = os.getpid()  # every life begins elsewhere in the circle
        while True:
            step += 1
            with suppress(EngineError):  # a command that does not fit the moment
                await disturb(engine, GraphSubmit(spec=demo), step)
            if step % 5 == 0:
                with suppress(EngineError):
                    await disturb_unnoticed(engine, served, step)
            await asyncio.sleep(0.15)


async def disturb(engine: Engine, request: GraphSubmit, step: int) -> None:
    name = request.spec.name
    kind = step % 8
    if kind == 1:
        await engine.submit(request, actor="chaos")
    elif kind in (2, 5):
        await engine.scale("default", name, "Back", 1 + step % 3, actor="chaos")
    elif kind == 3:
        changed = replace(request.spec, envs={**request.spec.envs, "STEP": str(step)})
        await engine.submit(replace(request, spec=changed), actor="chaos")
    elif kind == 4:
        await engine.restart("default", name, RestartRequest(service="Back"), actor="chaos")
    elif kind == 6:
        await engine.stop_graph("default", name, StopRequest(), actor="chaos")
    elif kind == 7:
        await engine.remove("default", name, actor="chaos")
    else:
        await engine.start_graph("default", name, actor="chaos")


async def disturb_unnoticed(engine: Engine, spec: GraphSpec, step: int) -> None:
    """Scale the service behind the frontend, or roll a change of it out."""
    if step % 2:
        await engine.scale("default", spec.name, SERVED_SERVICE, 1 + step % 3, actor="chaos")
        return
    services = tuple(
        replace(s, envs={**s.envs, "STEP": str(step)}) if s.name == SERVED_SERVICE else s for s in spec.services
    )
    await engine.submit(GraphSubmit(spec=replace(spec, services=services)), actor="chaos")


if __name__ == "__main__":
    asyncio.run(main())
