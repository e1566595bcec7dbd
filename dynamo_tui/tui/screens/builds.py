"""The builds that the daemon keeps: which there are, who runs them, and what one of them holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui import figures
from dynamo_tui.tui.operations import NotPossible
from dynamo_tui.tui.screens.base import FEEDS, Feed, View
from dynamo_tui.tui.store import Topic
from dynamo_tui.tui.submit_form import Form
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Action
from dynamod.schema.builds import Build, BuiltService
from dynamod.schema.references import may_be_tag

PAGE = 500
DIGEST_SHOWN = 16
PLACES = ("local", "docker", "kubernetes")
"""Where `dynamoctl deploy --target` can run it."""
_CHANGES = frozenset({Action.BUILD_CREATED, Action.BUILD_FINISHED, Action.BUILD_REMOVED})


class BuildsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.EVENTS, Topic.CLOCK})
    DEFAULT_CSS = """
    BuildsView #builds { height: 1fr; min-height: 5; }
    BuildsView #build-scroll { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    BuildsView #build-scroll:focus { border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "submit_build", "Submit", id="builds.submit"),
        Binding("o", "deploy", "Deploy", id="builds.deploy"),
        Binding("i", "image", "Image", id="builds.image"),
        Binding("b", "build", "Build …", id="builds.build"),
        Binding("D", "remove_build", "Remove the build", id="builds.remove"),
        Binding("tab,enter", "other_part", "List/contents", show=False, id="builds.switch"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._seen: int | None = None  # the newest event about builds; they are fetched again after each

    def compose(self) -> ComposeResult:
        def used_by(build: Build) -> tuple[Run, ...]:
            return ((", ".join(build.used_by), Tone.OK),) if build.used_by else ((figures.MISSING, Tone.MUTED),)

        yield Table[Build](
            [
                Column("TAG", lambda b: ((b.tag, Tone.STRONG),), limit=44),
                Column("SIZE", lambda b: ((figures.memory(b.size), Tone.TEXT),), width=8, align="right"),
                Column("SERVICES", lambda b: ((str(len(b.services)), Tone.TEXT),), width=8, align="right", rank=2),
                Column("PACKAGES", lambda b: ((str(len(b.packages)), Tone.TEXT),), width=8, align="right", rank=3),
                Column("AGE", self._age, width=5, align="right"),
                Column("PYTHON", lambda b: ((b.python_version, Tone.MUTED),), limit=8, rank=4),
                Column("USED BY", used_by, width=12, grow=1, rank=1),
            ],
            lambda b: b.tag,
            empty="no builds: dynamoctl build makes one",
            id="builds",
        )
        with VerticalScroll(id="build-scroll"):
            yield Lines(id="build")

    @property
    def table(self) -> Table[Build]:
        return self.query_one("#builds", Table)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("builds",)

    def feeds(self) -> Sequence[Feed]:
        return (self._fetch,)

    def focus_main(self) -> None:
        self.screen.set_focus(self.table)

    async def _fetch(self) -> None:
        builds: list[Build] = []
        after: str | None = None
        try:
            while True:
                page = await self.connection.client.send(calls.builds(after=after, limit=PAGE))
                builds += page.items
                after = page.next
                if after is None:
                    break
        except ClientError as error:
            if self.query("#builds"):
                self.table.empty = str(error)
                self.table.refresh()
            return  # what was known stays
        if not self.query("#builds"):
            return  # the page was closed meanwhile
        self.table.set_rows(sorted(builds, key=lambda b: b.stored_at, reverse=True))
        self.session.build_tags = [build.tag for build in builds]
        self._show_build()

    def update_view(self, changed: frozenset[Topic]) -> None:
        self.table.refresh()
        if Topic.EVENTS in changed:
            newest = next((e.seq for e in reversed(self.store.events) if e.action in _CHANGES), 0)
            if self._seen is not None and newest > self._seen:
                fetch: Feed = self._fetch
                self.run_worker(fetch, group=FEEDS)
            self._seen = newest

    def _age(self, build: Build) -> tuple[Run, ...]:
        return ((figures.age(build.stored_at, self.now()), Tone.TEXT),)

    @on(Table.Moved, "#builds")
    def _moved(self, message: Table.Moved) -> None:
        message.stop()
        self._show_build()

    def _show_build(self) -> None:
        if not self.is_shown:
            return
        build = self.table.row
        scroll = self.query_one("#build-scroll", VerticalScroll)
        scroll.border_title = build.tag if build else ""
        self.query_one("#build", Lines).set_lines(list(_contents(build)) if build else [])
        scroll.scroll_home(animate=False)

    # -- actions --------------------------------------------------------------------------------------------

    def action_build(self) -> None:
        self.dashboard.action_command("build ")

    def action_submit_build(self) -> None:
        if (build := self.table.row) is not None and not self.dashboard.refused():
            self.dashboard.open_submit(Form(target=_reference(build)))

    def action_deploy(self) -> None:
        if (build := self.table.row) is not None and not self.dashboard.refused():
            self.dashboard.ask(
                f"deploy {build.tag} to",
                lambda place: self.dashboard.run_command(f"deploy {_reference(build)} --target {place.strip()}"),
                value=PLACES[0],
                hint="  ".join(PLACES),
                complete=lambda text: [place for place in PLACES if place.startswith(text)],
            )

    def action_image(self) -> None:
        if (build := self.table.row) is not None:
            self.dashboard.confirm(self.dashboard.operations.containerize([build.tag]))

    def action_remove_build(self) -> None:
        if (build := self.table.row) is not None:
            try:
                self.dashboard.confirm(self.dashboard.operations.remove_build(build))
            except NotPossible as error:
                self.notify(str(error), severity="warning")

    def action_other_part(self) -> None:
        scroll = self.query_one("#build-scroll")
        self.screen.set_focus(self.table if scroll.has_focus else scroll)

    @on(Table.Selected, "#builds")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        self.action_other_part()

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)


def _reference(build: Build) -> str:
    """Its tag; its digest where a module of that name is at hand, which the command line would take it for."""
    return build.tag if may_be_tag(build.tag, None) else build.digest[:DIGEST_SHOWN]


def _contents(build: Build) -> Iterator[list[Run]]:
    """What a build holds, as its archive says."""

    def fact(label: str, text: str) -> list[Run]:
        return [(f" {label:<10}", Tone.MUTED), (text or figures.MISSING, Tone.TEXT if text else Tone.MUTED)]

    yield fact("entry", build.entry)
    yield fact("graph", build.graph)
    yield fact("used by", ", ".join(build.used_by))
    yield fact("digest", build.digest)
    yield fact("archive", build.path)
    yield fact("files", f"{build.files} of {figures.memory(build.source_bytes)}; {figures.memory(build.size)} packed")
    yield fact("python", f"{build.python_version}  sdk {build.sdk_version or figures.MISSING}")
    if build.labels:
        yield fact("labels", "  ".join(f"{k}={v}" for k, v in sorted(build.labels.items())))
    yield []
    yield [(f" {len(build.services)} services", Tone.STRONG)]
    for service in build.services:
        yield _service(service)
    yield []
    yield [(f" {len(build.packages)} packages", Tone.STRONG)]
    for package in build.packages:
        yield [(f"   {package.name:<32}", Tone.TEXT), (package.version, Tone.INFO)]


def _service(service: BuiltService) -> list[Run]:
    runs: list[Run] = [(f"   {service.name:<24}", Tone.TEXT), (f"×{service.workers}", Tone.INFO)]
    if service.endpoints:
        runs.append((f"  {' '.join(service.endpoints)}", Tone.TEXT))
    if service.dependencies:
        runs.append((f"  → {' '.join(service.dependencies)}", Tone.MUTED))
    resources = " ".join(f"{k}={v}" for k, v in sorted(service.resources.items()) if v)
    if resources:
        runs.append((f"  {resources}", Tone.MUTED))
    return runs
