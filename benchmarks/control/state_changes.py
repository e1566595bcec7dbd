"""How many state changes a second the store records, each with its event, while others read.

python -m benchmarks.control.state_changes [--seconds 5] [--writers 32]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from dynamod.core.records import GraphRecord, ReplicaRecord
from dynamod.schema import Action
from dynamod.schema.states import ReplicaState
from dynamod.store import tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store
from dynamod.store.queries import EventFilter, latest_events


async def run(seconds: float, writers: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = await Store.open(Path(name) / "store.db")
        graph = GraphRecord(
            id="g", project="default", name="g", driver="process", revision=1, created_at=0.0, updated_at=0.0
        )
        first = Transaction()
        first.ensure_row(tables.projects, {"name": "default", "created_at": 0.0})
        first.put(graph)
        await store.commit(first, lambda _: None)
        end = time.perf_counter() + seconds
        done = reads = 0
        cpu = time.process_time()

        async def write(n: int) -> None:
            nonlocal done
            record = ReplicaRecord(
                id=f"r{n}",
                graph_id="g",
                project="default",
                graph="g",
                service="S",
                index=n,
                revision=1,
                driver="process",
                created_at=0.0,
                updated_at=0.0,
            )
            states = (ReplicaState.STARTING, ReplicaState.READY)
            while time.perf_counter() < end:
                record = replace(record, state=states[done % 2], updated_at=float(done))
                transaction = Transaction()
                transaction.put(record)
                data = {"id": record.id, "state": record.state}
                transaction.event(Draft(at=0.0, actor="engine", action=Action.REPLICA_STATE, replica="r", data=data))
                await store.commit(transaction, lambda _: None)
                done += 1

        async def read() -> None:
            nonlocal reads
            while time.perf_counter() < end:
                await store.read(lambda connection: latest_events(connection, 50, EventFilter()))
                reads += 1
                await asyncio.sleep(0.05)

        await asyncio.gather(read(), *(write(n) for n in range(writers)))
        assert store.last_seq == done, "an event is missing"
        print(f"{1e6 * (time.process_time() - cpu) / done:.0f} us of CPU each, over all threads")
        print(
            f"{done / seconds:.0f} state changes a second with their events ({writers} writers, {reads} reads beside)"
        )
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--writers", type=int, default=32)
    options = parser.parse_args()
    asyncio.run(run(options.seconds, options.writers))


if __name__ == "__main__":
    main()
