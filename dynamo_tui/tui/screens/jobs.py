"""Builds, deployments and images in the making: each command with its state, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from dynamo_tui.tui import figures
from dynamo_tui.tui.jobs import Job, JobState
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.store import Topic
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table

_MARKS: dict[JobState, Run] = {
    JobState.RUNNING: ("◐ running", Tone.INFO),
    JobState.DONE: ("● done", Tone.OK),
    JobState.FAILED: ("✗ failed", Tone.BAD),
    JobState.CANCELLED: ("◌ cancelled", Tone.MUTED),
}


class JobsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.CLOCK})
    DEFAULT_CSS = """
    JobsView #jobs { height: auto; max-height: 40%; min-height: 3; }
    JobsView #job-scroll { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    JobsView #job-scroll:focus { border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel", id="jobs.cancel"),
        Binding("tab,enter", "other_part", "List/output", show=False, id="jobs.switch"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._newest = 0

    def compose(self) -> ComposeResult:
        yield Table[Job](
            [
                Column("STATE", lambda j: (_MARKS[j.state],), width=11),
                Column("TOOK", lambda j: ((figures.span(j.took), Tone.TEXT),), width=6, align="right"),
                Column("DAEMON", lambda j: ((j.context.name, Tone.MUTED),), limit=16, rank=2),
                Column("COMMAND", lambda j: ((j.command, Tone.STRONG),), width=30, grow=1),
            ],
            lambda j: str(j.number),
            empty="nothing runs here: :build, :deploy or :containerize starts something",
            id="jobs",
        )
        with VerticalScroll(id="job-scroll"):
            yield Lines(id="job")

    @property
    def table(self) -> Table[Job]:
        return self.query_one("#jobs", Table)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("jobs",)

    def focus_main(self) -> None:
        self.screen.set_focus(self.table)

    def update_view(self, changed: frozenset[Topic]) -> None:
        if changed == {Topic.CLOCK}:
            self.table.refresh()
        else:
            self.show_jobs()

    def show_jobs(self) -> None:
        """Draw again: something was printed, begun or ended."""
        if not self.is_shown:
            return
        jobs = self.dashboard.jobs
        self.table.set_rows(reversed(jobs))
        if jobs and jobs[-1].number != self._newest:  # one that has just begun is what is looked at
            self._newest = jobs[-1].number
            self.table.move_to(0)
        self._show_output()

    @on(Table.Moved, "#jobs")
    def _moved(self, message: Table.Moved) -> None:
        message.stop()
        self._show_output()

    def _show_output(self) -> None:
        job = self.table.row
        scroll = self.query_one("#job-scroll", VerticalScroll)
        at_end = scroll.scroll_offset.y >= scroll.max_scroll_y
        scroll.border_title = job.command if job else ""
        lines: list[list[Run]] = [[(f" {line}", Tone.TEXT)] for line in job.lines] if job else []
        if job is not None and job.state is not JobState.RUNNING:
            lines.append(
                [(f" {_MARKS[job.state][0]}", _MARKS[job.state][1]), (f" after {figures.span(job.took)}", Tone.MUTED)]
            )
        self.query_one("#job", Lines).set_lines(lines)
        if at_end:
            scroll.scroll_end(animate=False)

    # -- actions --------------------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        job = self.table.row
        if job is None or job.state is not JobState.RUNNING:
            self.notify("that is not running")
        else:
            job.cancel()

    def action_other_part(self) -> None:
        scroll = self.query_one("#job-scroll")
        self.screen.set_focus(self.table if scroll.has_focus else scroll)

    @on(Table.Selected, "#jobs")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        self.action_other_part()

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)
