"""A process that embeds an engine, for tests that kill it: `python daemon.py STATE_DIR [SPEC_FILE]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dynamo.sdk.spec import decode
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, locations


async def main() -> None:
    async with Engine(locations(Path(sys.argv[1]))) as engine:
        for spec in sys.argv[2:]:
            await engine.submit(GraphSubmit(spec=decode(Path(spec).read_bytes())), actor="test")
        print("up", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
