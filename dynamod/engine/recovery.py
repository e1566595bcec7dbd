"""What a restarted engine does before it plans: find out, by proof, what became of every run it knows of."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from dynamod.core import transitions
from dynamod.core.records import ReplicaRecord
from dynamod.drivers.base import Ended, NeverStarted, Observed, Running, Unproved
from dynamod.engine.actor import GraphActor
from dynamod.engine.readiness import StatusWatch

log = logging.getLogger(__name__)

LOOK_AGAIN = 2.0
"""Seconds between looks at a run that can be proved neither alive nor dead."""


async def recover(actor: GraphActor, watch: StatusWatch) -> None:
    """Observe every run of the graph. Nothing is planned before each is proved or marked as lost."""
    records = [r for r in actor.core.memory.of_graph(actor.graph_id) if r.state.holds_process]
    await asyncio.gather(*(_recover_one(actor, watch, record) for record in records))


async def _recover_one(actor: GraphActor, watch: StatusWatch, record: ReplicaRecord) -> None:
    observed = await actor.core.drivers[record.driver].recover(record.id, record.run)
    _tell(actor, watch, record, observed)
    if isinstance(observed, Unproved):
        log.warning("replica %s: %s", record.id, observed.detail)
        actor.core.tasks.start(_keep_looking(actor, watch, record), f"look for {record.id}")


async def _keep_looking(actor: GraphActor, watch: StatusWatch, record: ReplicaRecord) -> None:
    driver = actor.core.drivers[record.driver]
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        observed = await driver.recover(record.id, record.run)
        if not isinstance(observed, Unproved):
            break
    _tell(actor, watch, record, observed)


def _tell(actor: GraphActor, watch: StatusWatch, record: ReplicaRecord, observed: Observed) -> None:
    if isinstance(observed, Running):
        actor.observe(record.id, partial(_adopt, observed))
        if record.doom is not None:  # the tombstone is replayed
            driver = actor.core.drivers[record.driver]
            if record.doom.killed:
                driver.kill(record.id)
            else:
                driver.terminate(record.id)
        watch.expect(record.id, actor.core.options.adoption_grace)
    elif isinstance(observed, Ended):
        actor.ended(record.id, observed)
    elif isinstance(observed, NeverStarted):
        actor.ended(record.id, Ended(run=observed.run, detail="the engine ended before it was started"))
    else:
        detail, reason = observed.detail, observed.reason
        actor.observe(record.id, lambda r, now: transitions.lost(r, reason, detail, now))


def _adopt(observed: Running, record: ReplicaRecord, now: float) -> ReplicaRecord:
    if record.run != observed.run or not record.state.holds_process:
        return record
    return transitions.adopted(record, observed.pid or None, observed.container, now)
