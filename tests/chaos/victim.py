"""An engine that is made to die: `python victim.py STATE_DIR SPEC_FILE WHEN`.

WHEN is `before:N` or `after:N`: it kills itself at that side of its N-th commit; or `run`: it waits to be killed.
Whatever it finds it takes up; it submits the spec, and then changes things without end, so that commits keep coming.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dynamo.sdk.spec import decode
from dynamod.core.errors import EngineError
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, RestartRequest, StopRequest, locations
from dynamod.store.database import Store


def die_at(when: str) -> None:
    """Arrange for death at a transaction boundary."""
    side, _, number = when.partition(":")
    write_batch = Store._write_batch
    count = 0

    def dying(self: Store, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if side == "before" and count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        write_batch(self, *arguments)
        if side == "after" and count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    Store._write_batch = dying  # type: ignore[method-assign]


async def main() -> None:
    state, spec_file, when = sys.argv[1:4]
    if when != "run":
        die_at(when)
    spec = decode(Path(spec_file).read_bytes())
    async with Engine(locations(Path(state))) as engine:
        print("up", flush=True)  # noqa: T201
        step = 0
        while True:
            step += 1
            with suppress(EngineError):  # a command that does not fit the moment
                await disturb(engine, GraphSubmit(spec=spec), step)
            await asyncio.sleep(0.15)


async def disturb(engine: Engine, request: GraphSubmit, step: int) -> None:
    name = request.spec.name
    kind = step % 7
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
    else:
        await engine.start_graph("default", name, actor="chaos")


if __name__ == "__main__":
    asyncio.run(main())
