"""One replica: why it is as it is, what it measures, and what it says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui import figures
from dynamo_tui.tui.log_feed import LogPart
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.logs import LogsView
from dynamo_tui.tui.screens.replica_cells import gpu_text, replica_name, replica_reason
from dynamo_tui.tui.screens.replica_measured import ESSENTIAL, WINDOWS_S, measured_lines
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone, replica_mark
from dynamo_tui.tui.widgets.paint import Lines
from dynamod.schema import ExitInfo, Replica, Revision, Why
from dynamod.schema.secrecy import is_secret_name

HIDDEN = "••••••"
LABEL_WIDTH = 12
SPARK_WIDTH = 30


class ReplicaView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.REPLICAS, Topic.RATES, Topic.CLOCK})
    DEFAULT_CSS = """
    ReplicaView #upper { height: auto; max-height: 60%; }
    ReplicaView #facts-scroll { width: 1fr; height: auto; max-height: 100%; scrollbar-size-vertical: 1; }
    ReplicaView #measured { width: 56; display: none; }
    ReplicaView.-wide #measured { display: block; }
    ReplicaView #own-logs { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "open_logs", "Logs", id="replica.logs"),
        Binding("i", "environment", "Environment", id="replica.env"),
        Binding("plus,equals_sign", "zoom(-1)", "Shorter", key_display="+", show=False, id="replica.zoom-in"),
        Binding("minus", "zoom(1)", "Longer", key_display="-", show=False, id="replica.zoom-out"),
        Binding("tab", "other_part", "Why/logs", show=False, id="replica.switch"),
    ]

    def __init__(self, key: GraphKey, replica_id: str) -> None:
        super().__init__()
        self.key = key
        self.target = replica_id
        self._why: Why | None = None
        self._revision: Revision | None = None
        self._problem = ""
        self._seen: Replica | None = None
        self.show_environment = False
        self.window = 1

    def compose(self) -> ComposeResult:
        with Horizontal(id="upper"):
            with VerticalScroll(id="facts-scroll"):
                yield Lines(id="facts")
            yield Lines(id="measured")
        logs = LogsView(LogPart(self.key, replica=self.target))
        logs.id = "own-logs"
        logs.border_title = "log"
        yield logs

    def on_resize(self) -> None:
        self.set_class(self.size.width >= 110, "-wide")
        self.call_after_refresh(self._show)

    @property
    def replica(self) -> Replica | None:
        return self.store.replica(self.key, self.target)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key, self.target)

    @property
    def crumbs(self) -> Sequence[str]:
        replica = self.replica
        return ("graphs", str(self.key), replica_name(replica) if replica else self.target)

    @property
    def graph_key(self) -> GraphKey:
        return self.key

    @property
    def service(self) -> str | None:
        return self.replica.service if self.replica else None

    @property
    def replica_id(self) -> str:
        return self.target

    @property
    def logs(self) -> LogsView:
        return self.query_one("#own-logs", LogsView)

    def feeds(self) -> Sequence[Feed]:
        return (partial(self.connection.rates, self.key, self.target), self._explain)

    def shown(self) -> None:
        super().shown()
        self.logs.shown()

    def hidden(self) -> None:
        self.logs.hidden()
        super().hidden()

    def forget(self) -> None:
        self._why = self._seen = None
        self.logs.forget()

    def focus_main(self) -> None:
        self.screen.set_focus(self.query_one("#facts-scroll"))

    async def _explain(self) -> None:
        """Ask why it is in its state, and with which environment it runs."""
        client = self.connection.client
        try:
            self._why = await client.send(calls.why(self.target))
            replica = self._why.replica
            if self._revision is None or self._revision.number != replica.revision:
                call = calls.revision(self.key.name, replica.revision, project=self.key.project)
                self._revision = await client.send(call)
            self._problem = ""
        except ClientError as error:
            self._problem = str(error)
        self._show()

    def update_view(self, changed: frozenset[Topic]) -> None:
        replica = self.replica
        if replica is not None and self._seen is not None and replica != self._seen and self.is_shown:
            self.run_worker(self._explain(), group="why", exclusive=True)
        self._seen = replica
        if Topic.REPLICAS in changed:
            self.logs.update_view(changed)
        self._show()

    def _show(self) -> None:
        if not self.is_shown:
            return  # a call that was put off until after the page had gone
        facts = self.query_one("#facts", Lines)
        room = max(20, self.query_one("#facts-scroll").size.width - LABEL_WIDTH - 3)
        lines = [line for fact in self._facts() for line in _wrapped(fact, room)]
        if not self.has_class("-wide"):
            # No room beside the facts: the figures that tell most stand below them.
            lines += self._measured(max(10, room - 12), only=ESSENTIAL)
        facts.set_lines(lines)
        self.query_one("#measured", Lines).set_lines(list(self._measured(SPARK_WIDTH)))

    # -- what it says ---------------------------------------------------------------------------------------

    def _facts(self) -> Iterator[list[Run]]:
        replica = self.replica or (self._why.replica if self._why else None)
        if replica is None:
            yield [(" this replica is not there any more", Tone.WARN)]
            return
        now = self.now()
        mark, tone = replica_mark(replica.state)
        yield [(f" {mark} {replica.state}", tone), (f"  {replica_reason(replica, now)}", Tone.TEXT)]
        if self._why is not None and self._why.summary:
            yield _fact("why", self._why.summary, Tone.STRONG)
        if self._problem:
            yield _fact("why", self._problem, Tone.WARN)
        if self._why is not None:
            yield from _list("waits for", self._why.waiting_for, Tone.WARN)
            yield from _list("probe", [self._why.probe] if self._why.probe else [], Tone.TEXT)
        if replica.last_exit is not None:
            yield _fact("last exit", exit_text(replica.last_exit, now), Tone.WARN)
        started = figures.age(replica.started_at, now)
        ready = (
            figures.span((replica.ready_at - replica.started_at).total_seconds())
            if replica.ready_at and replica.started_at
            else figures.MISSING
        )
        yield _fact("started", f"{started} ago, ready after {ready}, {replica.restarts} restarts", Tone.TEXT)
        where = [f"pid {replica.pid}" if replica.pid else "", replica.container or "", replica.host, replica.driver]
        yield _fact("runs as", "  ".join(w for w in where if w) + f"  revision {replica.revision}", Tone.TEXT)
        yield _fact("address", replica.address or figures.MISSING, Tone.INFO if replica.address else Tone.MUTED)
        yield _fact("gpu", gpu_text(replica), Tone.TEXT if replica.gpus else Tone.MUTED)
        if self._why is not None:
            yield from _list("placed", self._why.placement, Tone.MUTED)
        yield _fact("id", replica.id, Tone.MUTED)
        yield from self._environment(replica)

    def _environment(self, replica: Replica) -> Iterator[list[Run]]:
        if not self.show_environment:
            yield _fact("environment", "i shows it", Tone.MUTED)
            return
        spec = self._revision.spec if self._revision is not None else None
        service = next((s for s in spec.services if s.name == replica.service), None) if spec else None
        if spec is None or service is None:
            yield _fact("environment", figures.MISSING, Tone.MUTED)
            return
        values = {**spec.envs, **service.envs}
        lines = [f"{name}={HIDDEN if is_secret_name(name) else value}" for name, value in sorted(values.items())]
        yield from _list("environment", lines or ["nothing beyond the daemon's own"], Tone.TEXT)

    def _measured(self, width: int, *, only: tuple[str, ...] = ()) -> Iterator[list[Run]]:
        if (replica := self.replica) is not None:
            window = WINDOWS_S[self.window]
            yield from measured_lines(self.store, self.key, replica, self.now(), window, width, only=only)

    # -- actions --------------------------------------------------------------------------------------------

    def action_open_logs(self) -> None:
        self.dashboard.open_logs(self.key, service=self.service, replica=self.target)

    def action_environment(self) -> None:
        self.show_environment = not self.show_environment
        self._show()

    def action_zoom(self, by: int) -> None:
        self.window = min(len(WINDOWS_S) - 1, max(0, self.window + by))
        self._show()

    def action_other_part(self) -> None:
        if self.query_one("#facts-scroll").has_focus:
            self.logs.focus_main()
        else:
            self.focus_main()

    def apply_filter(self, text: str) -> None:
        self.logs.set_filter(text)

    def submit_filter(self, text: str) -> None:
        self.logs.submit_filter(text)


def _fact(label: str, text: str, tone: Tone) -> list[Run]:
    return [(f" {label:<{LABEL_WIDTH}}", Tone.MUTED), (text, tone)]


def _wrapped(fact: list[Run], room: int) -> Iterator[list[Run]]:
    """A fact whose text is longer than `room` goes on below itself."""
    if len(fact) == 2 and fact[0][0].startswith(" ") and len(fact[1][0]) > room:
        lead, (text, tone) = fact
        for i, part in enumerate(textwrap.wrap(text, room)):
            yield [lead if i == 0 else (" " * (LABEL_WIDTH + 1), Tone.MUTED), (part, tone)]
    else:
        yield fact


def _list(label: str, items: Sequence[str], tone: Tone) -> Iterator[list[Run]]:
    for i, item in enumerate(items):
        yield _fact(label if i == 0 else "", item, tone)


def exit_text(ended: ExitInfo, now: float) -> str:
    """How its last process ended, in words."""
    how = "code unknown" if ended.code is None and not ended.signal else f"code {ended.code}"
    if ended.signal:
        how = f"signal {ended.signal}"
    if ended.oom_killed:
        how += ", out of memory"
    reason = f" ({ended.reason.replace('_', ' ')})" if ended.reason else ""
    return f"{how}{reason}" + (f", {figures.age(ended.at, now)} ago" if ended.at else "")
