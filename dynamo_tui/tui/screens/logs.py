"""Logs of a selection of graphs, services and replicas, merged by time, followed across restarts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ApiError, ClientError
from dynamo_tui.client.resume import Resumption
from dynamo_tui.tui import figures
from dynamo_tui.tui.line_buffer import Entry, LineBuffer, is_error
from dynamo_tui.tui.log_feed import LogFeed, LogPart, LogQuery, without_overlap
from dynamo_tui.tui.screens.base import FEEDS, Feed, View
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.log_view import LogView
from dynamo_tui.tui.widgets.paint import Lines
from dynamod.schema import LogLine

DRAW_EVERY_S = 0.2
LEVELS = ("", "debug", "info", "warning", "error")


class LogsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.REPLICAS})
    filter_hint: ClassVar[str] = "a regular expression; the daemon sends only the lines that match"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,F", "follow", "Follow", id="logs.follow"),
        Binding("w", "wrap", "Wrap", id="logs.wrap"),
        Binding("e", "level", "Level", id="logs.level"),
        Binding("i", "range", "Time range", id="logs.range"),
        Binding("p", "only", "Only these replicas", show=False, id="logs.only"),
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

    def __init__(self, *parts: LogPart) -> None:
        super().__init__()
        self.parts = without_overlap(parts)
        """What was selected; the feed may show some replicas of it alone."""
        self.problem = ""
        self.buffer = LineBuffer()
        self.feed = LogFeed(self.parts, self.buffer)
        self._names: dict[str, str] = {}
        self._draw_due = False
        self._fetching = False

    def compose(self) -> ComposeResult:
        yield Lines(id="log-status")
        yield LogView(self.buffer, self._label, id="log")

    @property
    def log_view(self) -> LogView:
        return self.query_one("#log", LogView)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.parts)

    @property
    def crumbs(self) -> Sequence[str]:
        if len(self.parts) > 1:
            return ("graphs", *self._graphs, f"{len(self.parts)} selected", "logs")
        part = self.parts[0]
        whose = self._names.get(part.replica, part.replica) if part.replica else part.service
        return ("graphs", str(part.key), *((whose,) if whose else ()), "logs")

    @property
    def _graphs(self) -> list[str]:
        return list(dict.fromkeys(str(part.key) for part in self.parts))

    @property
    def graph_key(self) -> GraphKey:
        return self.parts[0].key

    @property
    def service(self) -> str | None:
        return self.parts[0].service if len(self.parts) == 1 else None

    @property
    def replica_id(self) -> str | None:
        return self.parts[0].replica if len(self.parts) == 1 else None

    def feeds(self) -> Sequence[Feed]:
        return (self._follow_lines,)

    def focus_main(self) -> None:
        self.screen.set_focus(self.log_view)

    # -- lines ----------------------------------------------------------------------------------------------

    async def _follow_lines(self) -> None:
        resumption = Resumption()
        while True:
            try:
                await self.feed.follow(self.connection.client, self._lines_came)
                return
            except ApiError as error:
                self.problem = str(error)
                self._show_status()
                return
            except ClientError:  # the banner says that the daemon is away
                await asyncio.sleep(resumption.next_delay())

    def _lines_came(self) -> None:
        if not self._draw_due:
            self._draw_due = True
            self.set_timer(DRAW_EVERY_S if self.buffer.received > 1 else 0.02, self._draw)

    def _draw(self) -> None:
        self._draw_due = False
        if self.is_shown:
            self.log_view.lines_added()
            self._show_status()

    def _ask_for(self, query: LogQuery) -> None:
        """Ask for other lines, where they are others."""
        if query != self.feed.query:
            self.feed.query = query
            self._restart()

    def _restart(self) -> None:
        """Ask anew: other lines are wanted."""
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
        try:
            found = await self.feed.older(self.connection.client)
        except ClientError as error:
            self.problem = str(error)
            return False
        finally:
            self._fetching = False
        self.log_view.lines_added()
        self._show_status()
        return found

    def _label(self, line: LogLine) -> str:
        name = self._names.get(line.replica)
        if name is None:
            name = self._names[line.replica] = self._name_of(line.replica)
        return name

    def _name_of(self, replica_id: str) -> str:
        """The replica's short name, with its graph where there are several."""
        for key in dict.fromkeys(part.key for part in self.parts):
            if (replica := self.store.replica(key, replica_id)) is not None:
                name = replica_name(replica)
                return name if len(self._graphs) == 1 else f"{key}/{name}"
        return replica_id[-12:]

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
        query = self.feed.query
        if query.level:
            line.append((f"  level ≥ {query.level}", Tone.INFO))
        if query.regex:
            line.append((f"  /{query.regex}", Tone.INFO))
        if query.range_text:
            line.append((f"  {query.range_text}", Tone.INFO))
        if self.feed.parts != self.parts:
            line.append((f"  {len(self.feed.parts)} of the replicas", Tone.INFO))
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
        self._ask_for(replace(self.feed.query, regex=text))

    def action_follow(self) -> None:
        self.log_view.follow(not self.log_view.following)
        self._show_status()  # in the frame that shows the log, not in the one after

    def action_wrap(self) -> None:
        self.log_view.toggle_wrap()

    def action_level(self) -> None:
        following = LEVELS[(LEVELS.index(self.feed.query.level) + 1) % len(LEVELS)]
        self._ask_for(replace(self.feed.query, level=following))

    def action_range(self) -> None:
        self.dashboard.ask(
            "lines since..until",
            self._set_range,
            value=self.feed.query.range_text,
            hint="10m, 14:02, 14:02..14:10, ..14:10; nothing for all",
        )

    def _set_range(self, text: str) -> None:
        try:
            self._ask_for(self.feed.query.with_range(text, self.now()))
        except ValueError as error:
            self.notify(str(error), severity="warning")

    def action_only(self) -> None:
        names = sorted(self._replicas())
        self.dashboard.ask(
            "only replicas",
            self._only,
            hint="  ".join(names) or "no replica is known",
            complete=lambda text: _complete_last_word(names, text),
        )

    def _replicas(self) -> dict[str, LogPart]:
        """Every replica of what was selected, by name."""
        return {
            self._name_of(r.id): LogPart(part.key, r.service, r.id)
            for part in self.parts
            for r in self.store.replicas_of(part.key, part.service)
            if part.replica in (None, r.id)
        }

    def _only(self, text: str) -> None:
        """Narrow the selection to these replicas; to none of them: all of it again."""
        known = self._replicas()
        if unknown := [name for name in text.split() if name not in known]:
            self.notify(f"there is no {unknown[0]} here; there are {', '.join(sorted(known))}", severity="warning")
            return
        parts = tuple(known[name] for name in dict.fromkeys(text.split())) or self.parts
        if parts != self.feed.parts:
            self.feed.parts = parts
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
        if not view.seek(is_error, 1, include_current=True):
            self.notify("no error in the lines held")

    def action_error_since(self) -> None:
        if len(self._graphs) > 1:
            self.notify("revisions are of one graph, and these lines are of several", severity="warning")
            return
        graph = self.store.graphs.get(self.graph_key)
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
        client, key = self.connection.client, self.graph_key
        try:
            revision = await client.send(calls.revision(key.name, number, project=key.project))
            found = await self.feed.first_error(client, revision.created_at.timestamp())
        except ClientError as error:
            self.notify(str(error), severity="warning")
            return
        if found is None:
            self.notify(f"no error since revision {number}")
            return
        await self._show_line(found)

    async def _show_line(self, wanted: LogLine) -> None:
        """Put the cursor on a line; what lies between it and the oldest line held is fetched first."""
        self.log_view.go_to(self.buffer.end - 1)  # stop following: what is fetched must not be dropped again
        while self.is_shown and (oldest := self.feed.oldest) is not None and oldest.t >= wanted.t:
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


def _complete_last_word(names: Sequence[str], text: str) -> list[str]:
    before, _, word = text.rpartition(" ")
    lead = f"{before} " if before else ""
    return [f"{lead}{name}" for name in names if name.lower().startswith(word.lower())]
