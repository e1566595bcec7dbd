"""Logs of a graph, a service or a replica, merged by time, followed across restarts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import ApiError, ClientError
from dynamo_tui.tui import figures
from dynamo_tui.tui.line_buffer import Entry, LineBuffer, begins_after, unseen
from dynamo_tui.tui.screens.base import FEEDS, Feed, View
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.log_view import LogView
from dynamo_tui.tui.widgets.paint import Lines
from dynamod.schema import LogLine

TAIL = 1_000
OLDER = 1_000
DRAW_EVERY_S = 0.2
RESUMED_S = 1.0
"""A log that has gone on for so long since the last line held does not bring that one again."""
LEVELS = ("", "debug", "info", "warning", "error")


class LogsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.REPLICAS})
    filter_hint: ClassVar[str] = "a regular expression; the daemon sends only the lines that match"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,F", "follow", "Follow", id="logs.follow"),
        Binding("w", "wrap", "Wrap", id="logs.wrap"),
        Binding("e", "level", "Level", id="logs.level"),
        Binding("ctrl+s", "find", "Find", key_display="^s", id="logs.find"),
        Binding("n", "match(1)", "Next match", show=False, id="logs.next"),
        Binding("N", "match(-1)", "Previous match", show=False, id="logs.previous"),
        Binding("E", "first_error", "First error", show=False, id="logs.error"),
        Binding("ctrl+e", "error_since", "First error since a revision", show=False, id="logs.error-since"),
        Binding("m", "mark", "Bookmark", show=False, id="logs.mark"),
        Binding("apostrophe", "next_mark", "Next bookmark", show=False, id="logs.next-mark"),
        Binding("T", "times", "Times on/off", show=False, id="logs.times"),
        Binding("y", "copy", "Copy line", show=False, id="logs.copy"),
        Binding("Y", "copy_screen", "Copy screen", show=False, id="logs.copy-screen"),
        Binding("s", "save", "Save", id="logs.save"),
    ]

    def __init__(self, key: GraphKey, *, service: str | None = None, replica: str | None = None) -> None:
        super().__init__()
        self.key = key
        self._service = service
        self._replica = replica
        self.level = ""
        self.regex = ""
        self.problem = ""
        self.buffer = LineBuffer()
        self._names: dict[str, str] = {}
        self._draw_due = False
        self._fetching = False
        self._older_turn = asyncio.Lock()  # two at once would fetch the same lines

    def compose(self) -> ComposeResult:
        yield Lines(id="log-status")
        yield LogView(self.buffer, self._label, id="log")

    @property
    def log_view(self) -> LogView:
        return self.query_one("#log", LogView)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key, self._service, self._replica)

    @property
    def crumbs(self) -> Sequence[str]:
        whose = self._names.get(self._replica, self._replica) if self._replica else self._service
        return ("graphs", str(self.key), *((whose,) if whose else ()), "logs")

    @property
    def graph_key(self) -> GraphKey:
        return self.key

    @property
    def service(self) -> str | None:
        return self._service

    @property
    def replica_id(self) -> str | None:
        return self._replica

    def feeds(self) -> Sequence[Feed]:
        return (self._follow_lines,)

    def focus_main(self) -> None:
        self.screen.set_focus(self.log_view)

    # -- lines ----------------------------------------------------------------------------------------------

    async def _follow_lines(self) -> None:
        """The last lines, then every new one; after a pause, from the last line that is held."""
        last = next((e for _, e in self.buffer.numbered(self.buffer.end - 1, -1) if isinstance(e, LogLine)), None)
        seen = {(e.replica, e.line) for e in self._tail_at(last.t)} if last else set()
        call = streams.logs(
            self.key.name,
            project=self.key.project,
            service=self._service,
            replica=self._replica,
            tail=None if last else TAIL,
            since=last.t if last else None,
            regex=self.regex or None,
            level=self.level or None,
        )
        try:
            following = self.connection.client.follow_batches(streams.lines_as_sent(call))
            async with aclosing(following) as batches:
                async for batch in batches:
                    self.buffer.extend(unseen(batch, seen) if seen else batch)
                    if last and seen and begins_after(batch, last.t + RESUMED_S):
                        seen.clear()
                    if not self._draw_due:
                        self._draw_due = True
                        self.set_timer(DRAW_EVERY_S if self.buffer.received > 1 else 0.02, self._draw)
        except ApiError as error:
            self.problem = str(error)
            self._show_status()

    def _tail_at(self, t: float) -> list[LogLine]:
        """The lines held that were written at `t`: they come again when the feed resumes there."""
        found = []
        for _, entry in self.buffer.numbered(self.buffer.end - 1, -1):
            if isinstance(entry, LogLine):
                if entry.t < t:
                    break
                found.append(entry)
        return found

    def _draw(self) -> None:
        self._draw_due = False
        if self.is_shown:
            self.log_view.lines_added()
            self._show_status()

    def _restart(self) -> None:
        """Ask anew, with another filter."""
        self.workers.cancel_group(self, FEEDS)
        self.buffer.clear()
        self.problem = ""
        self.log_view.follow(True)
        if self.is_shown:
            self.run_worker(self._follow_lines(), group=FEEDS)
        self._show_status()

    def forget(self) -> None:
        self.buffer.clear()
        self.log_view.follow(True)

    @on(LogView.ReachedTop)
    def _fetch_older(self) -> None:
        if not self._fetching and len(self.buffer):
            self._fetching = True
            self.run_worker(self._older(), group="older")

    async def _older(self) -> bool:
        """Fetch the lines before the oldest that is held; False where there are none."""
        async with self._older_turn:
            try:
                oldest = self._oldest
                if oldest is None:
                    return False
                page = await self.connection.client.send(
                    calls.logs(
                        self.key.name,
                        project=self.key.project,
                        service=self._service,
                        replica=self._replica,
                        until=oldest.t,
                        tail=OLDER,
                        regex=self.regex or None,
                        level=self.level or None,
                    )
                )
                held = {(e.replica, e.line) for _, e in self._oldest_lines(oldest.t)}
                older = [line for line in page.items if (line.replica, line.line) not in held]
                self.buffer.prepend(older)
                self.log_view.lines_added()
                return bool(older)
            except ClientError as error:
                self.problem = str(error)
                return False
            finally:
                self._fetching = False
                self._show_status()

    @property
    def _oldest(self) -> LogLine | None:
        return next((e for _, e in self.buffer.numbered(self.buffer.first) if isinstance(e, LogLine)), None)

    def _oldest_lines(self, t: float) -> list[tuple[int, LogLine]]:
        found: list[tuple[int, LogLine]] = []
        for number, entry in self.buffer.numbered(self.buffer.first):
            if isinstance(entry, LogLine):
                if entry.t > t:
                    break
                found.append((number, entry))
        return found

    def _label(self, line: LogLine) -> str:
        name = self._names.get(line.replica)
        if name is None:
            replica = self.store.replica(self.key, line.replica)
            name = replica_name(replica) if replica else line.replica[-12:]
            self._names[line.replica] = name
        return name

    # -- status ---------------------------------------------------------------------------------------------

    def update_view(self, changed: frozenset[Topic]) -> None:
        del changed
        self._names.clear()
        self.log_view.lines_added()
        self._show_status()

    @on(LogView.StateChanged)
    def _show_status(self) -> None:
        if not self.is_shown:
            return
        view = self.log_view
        follows = (" ● up to then", Tone.WARN) if self.session.in_past else (" ● following", Tone.OK)
        line: list[Run] = [follows if view.following else (" ‖ paused (f follows)", Tone.WARN)]
        line.append((f"  {view.place}", Tone.TEXT))
        if self.buffer.received > len(self.buffer):
            line.append((f"  {figures.count(self.buffer.received)} received", Tone.MUTED))
        if self.buffer.skipped:
            line.append((f"  {figures.count(self.buffer.skipped)} skipped", Tone.WARN))
        if self.level:
            line.append((f"  level ≥ {self.level}", Tone.INFO))
        if self.regex:
            line.append((f"  /{self.regex}", Tone.INFO))
        if view.marks:
            line.append((f"  {len(view.marks)} bookmarks", Tone.ACCENT))
        if view.wrap:
            line.append(("  wrap", Tone.MUTED))
        if self.problem:
            line.append((f"  {self.problem}", Tone.BAD))
        self.query_one("#log-status", Lines).set_lines([line])

    # -- actions --------------------------------------------------------------------------------------------

    def apply_filter(self, text: str) -> None:
        """Lines are filtered by the daemon: wait for the whole expression."""

    def submit_filter(self, text: str) -> None:
        try:
            re.compile(text)
        except re.error as error:
            self.notify(f"/{text}: {error}", severity="warning")
            return
        if text != self.regex:
            self.regex = text
            self._restart()

    def action_follow(self) -> None:
        self.log_view.follow(not self.log_view.following)
        self._show_status()  # in the frame that shows the log, not in the one after

    def action_wrap(self) -> None:
        self.log_view.toggle_wrap()

    def action_level(self) -> None:
        self.level = LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)]
        self._restart()

    def action_times(self) -> None:
        self.log_view.toggle_time()

    def action_find(self) -> None:
        self.dashboard.ask("find", self._find, hint="a regular expression; n and N go to the next and previous match")

    def _find(self, pattern: str) -> None:
        try:
            if not self.log_view.find(pattern):
                self.notify(f"{pattern!r} is not in the {figures.count(len(self.buffer))} lines held")
        except re.error as error:
            self.notify(f"{pattern}: {error}", severity="warning")

    def action_match(self, by: int) -> None:
        if not self.log_view.seek_match(by):
            self.notify("no match")

    def action_first_error(self) -> None:
        view = self.log_view
        view.action_first()
        if not view.seek(_is_error, 1, include_current=True):
            self.notify("no error in the lines held")

    def action_error_since(self) -> None:
        graph = self.store.graphs.get(self.key)
        self.dashboard.ask(
            "first error since revision",
            self._first_error_since,
            value=str(graph.revision) if graph else "",
            hint="a revision's number; older lines are fetched where they are needed",
        )

    async def _first_error_since(self, text: str) -> None:
        """Put the cursor on the first error that was written after that revision was made."""
        if not text.strip().isdigit():
            self.notify(f"{text!r} is not a revision number", severity="warning")
            return
        number = int(text)
        client = self.connection.client
        try:
            revision = await client.send(calls.revision(self.key.name, number, project=self.key.project))
            page = await client.send(
                calls.logs(
                    self.key.name,
                    project=self.key.project,
                    service=self._service,
                    replica=self._replica,
                    since=revision.created_at.timestamp(),
                    regex=self.regex or None,
                    level="error",
                    limit=1,
                )
            )
        except ClientError as error:
            self.notify(str(error), severity="warning")
            return
        if not page.items:
            self.notify(f"no error since revision {number}")
            return
        await self._show_line(page.items[0])

    async def _show_line(self, wanted: LogLine) -> None:
        """Put the cursor on a line; what lies between it and the oldest line held is fetched first."""
        self.log_view.go_to(self.buffer.end - 1)  # stop following: what is fetched must not be dropped again
        while self.is_shown and (oldest := self._oldest) is not None and oldest.t >= wanted.t:
            if len(self.buffer) >= self.buffer.limit or not await self._older():
                break
        if not self.is_shown:
            return
        for place, entry in self.buffer.numbered(self.buffer.first):
            if isinstance(entry, LogLine) and (entry.replica, entry.line) == (wanted.replica, wanted.line):
                self.log_view.go_to(place)
                return
        self.notify(
            f"it was at {figures.clock(wanted.t)}, before the lines that can be held: filter, or pick a replica"
        )

    def action_mark(self) -> None:
        self.log_view.toggle_mark()

    def action_next_mark(self) -> None:
        marks = sorted(self.log_view.marks)
        if marks:
            after = [n for n in marks if n > self.log_view.cursor or self.log_view.following]
            self.log_view.go_to((after or marks)[0])

    def action_copy(self) -> None:
        if (entry := self.log_view.current) is not None:
            self.app.copy_to_clipboard(self.log_view.plain_line(entry))
            self.notify("copied the line")

    def action_copy_screen(self) -> None:
        self.app.copy_to_clipboard(self.log_view.visible_text())
        self.notify("copied what is on screen")

    def action_save(self) -> None:
        name = "-".join(self.crumbs[1:-1]).replace("/", "-")
        self.dashboard.ask("save to", self._save, value=f"{name}.log", hint="writes the lines held to this file")

    async def _save(self, path: str) -> None:
        entries = [entry for _, entry in self.buffer.numbered(self.buffer.first)]
        try:
            await asyncio.to_thread(self._write, path, entries)
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", severity="error")
        else:
            self.notify(f"wrote {figures.count(len(entries))} lines to {path}")

    def _write(self, path: str, entries: Sequence[Entry]) -> None:
        with Path(path).expanduser().open("w", encoding="utf-8") as stream:
            stream.writelines(self.log_view.plain_line(entry) + "\n" for entry in entries)


def _is_error(entry: Entry) -> bool:
    return isinstance(entry, LogLine) and entry.level.lower() in ("error", "critical", "fatal")
