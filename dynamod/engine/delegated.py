"""The loop of a graph that something else schedules: bring it there, look at it, write down what is seen.

Nothing is started, restarted or stopped from here. A backend that refuses or is away is told again, after a delay
that grows; what was seen last stands meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from dynamod.core.delegation import Trouble, records_of, summarise_delegated
from dynamod.core.errors import EngineError, Unavailable
from dynamod.core.records import Goal, GraphRecord, RevisionRecord
from dynamod.drivers.base import GraphDriver, Picture, Wanted
from dynamod.engine.core import Core
from dynamod.engine.turn import Turn
from dynamod.schema.states import Action, Reason
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

FIRST_DELAY = 0.5
MAX_DELAY = 15.0
"""Seconds between attempts to bring a graph where its backend refuses it; they double."""
LOOK_DELAY = 0.5
MAX_LOOK_DELAY = 5.0
"""The same between attempts to see it."""
PAUSE = 1.0
MAX_PAUSE = 60.0
"""Seconds between telling the backend the same again: the news of what we have written take a moment to arrive. They
double while somebody undoes it again and again."""
RESYNC = 300.0
"""Seconds after which everything is compared again, also what nobody watches."""

Mark = tuple[Goal, int, Mapping[str, int]]
"""What tells apart all that can be wanted of a graph: its goal, revision and numbers of replicas. Revisions never
change: the number of one stands for all that is in it."""


class DelegatedActor:
    """Owns one graph of a `GraphDriver`: every change of it and its replicas is made under `lock`."""

    def __init__(self, core: Core, graph_id: str, on_gone: Callable[[str], None]) -> None:
        self.core = core
        self.graph_id = graph_id
        self.lock = asyncio.Lock()
        self.gone = False
        self._on_gone = on_gone
        self._driver: GraphDriver = core.graph_drivers[core.memory.graphs[graph_id].driver]
        self._dirty = asyncio.Event()
        self._turned = asyncio.Condition()
        self._tasks = OwnedTasks()
        self._picture: Picture | None = None
        self._unseen: EngineError | None = None
        self._refused: EngineError | None = None
        self._brought: Mark | None = None
        self._attempts = 0
        self._repeats = 0
        self._not_before = 0.0
        self._resync_at = 0.0
        self._taken_away = False

    def wake(self) -> None:
        """Look again soon; what was refused is tried at once."""
        self._not_before = 0.0
        self._dirty.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds; it is looked at after every turn. The caller sets the deadline."""
        async with self._turned:
            await self._turned.wait_for(lambda: self.gone or condition())

    async def restart(self, service: str | None, replica: str | None) -> None:
        """Have the backend replace replicas, all of them where neither is named. Raises what it raises."""
        await self._driver.restart(self._wanted(), service, replica)

    async def run(self) -> None:
        """Keep at it until the graph is gone or the owner cancels this."""
        self._tasks.start(self._look(), f"follow graph {self.graph_id}")
        try:
            while True:
                self._dirty.clear()
                look_again_at = await self._reconcile()
                async with self._turned:
                    self._turned.notify_all()
                if self.gone:
                    break
                try:
                    async with asyncio.timeout(max(look_again_at - _now(), 0.0)):
                        await self._dirty.wait()
                except TimeoutError:
                    pass
        finally:
            await self._tasks.close()
        self._on_gone(self.graph_id)

    async def _look(self) -> None:
        """Follow the graph as its backend has it; one that is lost is looked for again."""
        delay = LOOK_DELAY
        while True:
            began = _now()
            try:
                await self._driver.follow(self._wanted, self._seen)
            except EngineError as error:
                self._unseen = error
                self._dirty.set()
            except Exception:  # a bug in what is shown must not leave the graph without a picture
                log.exception("graph %s: following it failed", self.graph_id)
            delay = LOOK_DELAY if _now() - began > MAX_LOOK_DELAY else min(delay * 2, MAX_LOOK_DELAY)
            await asyncio.sleep(delay)

    def _seen(self, picture: Picture) -> None:
        if self._unseen is not None:
            self._unseen, self._not_before = None, 0.0  # what failed meanwhile may well work now
        self._picture = picture
        self._dirty.set()

    async def _reconcile(self) -> float:
        """Tell the backend if there is something to tell, and write down what is known; when to look again."""
        try:
            await self._bring()
            async with self.lock:
                await self._write()
        except EngineError as error:  # of the store
            log.error("graph %s: %s", self.graph_id, error)
            return _now() + FIRST_DELAY
        except Exception:  # a bug in one turn must not leave the graph without an owner
            log.exception("graph %s: a turn failed", self.graph_id)
            return _now() + FIRST_DELAY
        if not self.gone and self._is_due():
            return max(self._not_before, _now())
        return self._resync_at

    def _is_due(self) -> bool:
        """Whether the backend has not been told yet, has refused, or does not have it as it was told."""
        if self._refused is not None or self._graph().goal is Goal.REMOVE:
            return True
        return self._mark() != self._brought or self._astray() or _now() >= self._resync_at

    async def _bring(self) -> None:
        if _now() < self._not_before or not self._is_due():
            return
        mark, goal = self._mark(), self._graph().goal
        try:
            if goal is Goal.REMOVE:
                self._taken_away = await self._driver.take_away(self._wanted())
            elif written := await self._driver.bring(self._wanted()):
                log.info("graph %s: %d objects written", self._graph().name, written)
        except EngineError as error:
            if str(error) != str(self._refused):
                log.warning("graph %s: %s", self._graph().name, error)
            self._refused = error
            delay = min(FIRST_DELAY * 2**self._attempts, MAX_DELAY)
            self._attempts += 1
            self._not_before = _now() + delay * (0.75 + random.random() / 2)
            return
        self._repeats = self._repeats + 1 if mark == self._brought and self._astray() else 0
        self._refused, self._attempts, self._brought = None, 0, mark
        self._not_before = _now() + min(PAUSE * 2**self._repeats, MAX_PAUSE)
        self._resync_at = _now() + RESYNC

    async def _write(self) -> None:
        core = self.core
        turn = Turn(core.memory, self.graph_id, core.now())
        graph, picture = turn.graph, self._picture
        forgotten = self._write_replicas(turn, picture) if picture is not None else []
        brought = self._brought == self._mark()
        settled = brought and picture is not None and picture.settled and not picture.astray
        if settled and graph.goal is Goal.RUN and graph.stable != graph.revision:
            graph = replace(graph, stable=graph.revision)
            turn.note(Action.ROLLOUT_FINISHED, Reason.ALL_READY, f"revision {graph.revision} is ready")
            for record in turn.replicas:
                turn.put_replica(replace(record, revision=graph.revision))
        state, reason, message = summarise_delegated(
            graph,
            turn.replicas,
            sum(graph.wanted(service) for service in turn.revisions[graph.revision].spec.services),
            settled=settled,
            overdue=brought and picture is not None and picture.overdue,
            trouble=self._trouble(),
        )
        if self._brought or self._trouble() is not None:  # else it stays what an earlier engine found it to be
            graph = replace(graph, state=state, reason=reason, message=message)
        turn.put_graph(graph)
        away = graph.goal is Goal.REMOVE and self._taken_away
        if away:
            forgotten += [record.id for record in turn.replicas]
            for replica_id in forgotten:
                turn.remove_replica(replica_id)
            turn.remove_graph()
        await turn.commit(core.store, core.feed)
        self.gone = away
        if graph.goal is Goal.REMOVE:  # the log of one that was replaced stays for whoever asks why
            for replica_id in forgotten:
                core.tasks.start(self._driver.forget(replica_id), f"forget {replica_id}")

    def _write_replicas(self, turn: Turn, picture: Picture) -> list[str]:
        """Put what is seen; the ids of what is seen no more."""
        seen = records_of(turn.graph, turn.replicas, picture.replicas, picture.leaving, turn.now)
        for record in seen:
            turn.put_replica(record)
        gone = {record.id for record in turn.replicas} - {record.id for record in seen}
        for replica_id in gone:
            turn.remove_replica(replica_id)
        return sorted(gone)

    def _trouble(self) -> Trouble | None:
        """What keeps us from bringing or seeing the graph, the more telling first."""
        for error in (self._refused, self._unseen):
            if error is not None:
                reason = error.reason or Reason.REPLICAS_UNREADY
                return Trouble(reason, str(error), needs_change=not isinstance(error, Unavailable))
        return self._picture.hindrance if self._picture is not None else None

    def _graph(self) -> GraphRecord:
        return self.core.memory.graphs[self.graph_id]

    def _wanted(self) -> Wanted:
        graph = self._graph()
        return wanted_of(graph, self.core.memory.target(graph))

    def _mark(self) -> Mark:
        graph, wanted = self._graph(), self._wanted()
        return graph.goal, wanted.revision, wanted.counts

    def _astray(self) -> bool:
        return self._picture is not None and bool(self._picture.astray)


def wanted_of(graph: GraphRecord, revision: RevisionRecord) -> Wanted:
    """What a graph driver is told of a graph."""
    return Wanted(
        project=graph.project,
        graph=graph.name,
        revision=revision.number,
        spec=revision.spec,
        envs=revision.envs,
        build=revision.build,
        options=revision.kubernetes,
        counts={service.name: graph.wanted(service) for service in revision.spec.services},
        running=graph.goal is Goal.RUN,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
