"""A submit put together: a file picker, the services that are found in the target, and what each is given."""

from __future__ import annotations

import asyncio
import shlex
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import click
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DirectoryTree

from dynamo_tui.cli.exits import CliError
from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError, NotFound
from dynamo_tui.tui import figures
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.submit_form import (
    DRIVERS,
    Form,
    FormError,
    ServiceRow,
    complete_pair,
    complete_path,
    offered,
    rows_of_build,
    rows_of_spec,
)
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema.references import is_archive, may_be_tag

_SKIPPED = ("__pycache__", "node_modules", "build", "dist")
_INSPECTS = "inspect"


class Picker(DirectoryTree):
    """Files that a submit can be made of: modules, configurations and archives."""

    ICON_FILE = ""
    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    filter = ""

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".")
            and path.name not in _SKIPPED
            and (path.is_dir() or (offered(path) and self.filter.lower() in path.name.lower()))
        ]


class SubmitView(View):
    """The form. It ends in the page of the plan, from which it is applied."""

    DEFAULT_CSS = """
    SubmitView Picker { width: 30%; min-width: 22; background: $background; border-right: solid $panel; padding: 0; }
    SubmitView Picker:focus { border-right: solid $primary; }
    SubmitView #form-services { height: 1fr; min-height: 4; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "plan", "Plan it", id="submit.plan"),
        Binding("t", "target", "Target", id="submit.target"),
        Binding("r", "replicas", "Replicas", id="submit.replicas"),
        Binding("u", "gpus", "GPUs", id="submit.gpus"),
        Binding("v", "variable", "Variable", id="submit.variable"),
        Binding("c", "config_key", "Config key", id="submit.config-key"),
        Binding("f", "config_file", "Configuration file", show=False, id="submit.config-file"),
        Binding("w", "working_dir", "Working directory", show=False, id="submit.working-dir"),
        Binding("n", "name", "Name", show=False, id="submit.name"),
        Binding("o", "driver", "What runs it", show=False, id="submit.driver"),
        Binding("V", "common_variable", "Variable of every replica", show=False, id="submit.common-variable"),
        Binding("x", "clear", "Take a service's overrides back", show=False, id="submit.clear"),
        Binding("tab", "other_part", "Files/services", show=False, id="submit.switch"),
    ]

    def __init__(self, form: Form | None = None) -> None:
        super().__init__()
        self.form = form or Form()
        self.problem = ""
        self.inspecting = False

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Picker(Path.cwd(), id="files")
            with Vertical():
                yield Lines(id="form")
                yield Table[ServiceRow](
                    [
                        Column("SERVICE", lambda s: ((s.name, Tone.STRONG),), limit=30),
                        Column("REPLICAS", self._replicas, width=8, align="right"),
                        Column("GPU", self._gpus, width=5, align="right"),
                        Column("OVERRIDES", self._overrides, width=12, grow=1),
                    ],
                    lambda s: s.name,
                    empty="choose a target: enter on a module, or t",
                    id="form-services",
                )

    @property
    def table(self) -> Table[ServiceRow]:
        return self.query_one("#form-services", Table)

    @property
    def picker(self) -> Picker:
        return self.query_one(Picker)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("submit",)

    def focus_main(self) -> None:
        self.screen.set_focus(self.table if self.table.total else self.picker)

    def on_mount(self) -> None:
        self._show()
        if self.form.target:
            self.inspect()

    def set_form(self, form: Form, *, inspect: bool = False) -> None:
        """Take over what was chosen; `inspect`: the services may be others now."""
        self.form = form
        self._show()
        if inspect:
            self.inspect()

    # -- the target -----------------------------------------------------------------------------------------

    @on(DirectoryTree.FileSelected)
    def _picked(self, message: DirectoryTree.FileSelected) -> None:
        message.stop()
        path = str(message.path.relative_to(Path.cwd()))
        if message.path.suffix in (".yaml", ".yml"):
            self.set_form(replace(self.form, config_file=path), inspect=bool(self.form.target))
        else:
            self.set_form(replace(self.form, target=path, overrides={}), inspect=True)

    def inspect(self) -> None:
        """Find the target's services, in the graph's own interpreter."""
        self.problem, self.inspecting = "", True
        self.table.set_rows(())
        self._show()
        self.run_worker(self._inspect(self.form), group=_INSPECTS, exclusive=True)

    async def _inspect(self, form: Form) -> None:
        try:
            rows = await self._services_of(form)
        except click.ClickException as error:
            self.problem = error.format_message()
        except (ClientError, CliError) as error:
            self.problem = str(error)
        else:
            self.table.set_rows(rows)
        self.inspecting = False
        self._show()
        if self.is_shown and self.table.total and not self.dashboard.prompt.is_open:
            self.focus_main()

    async def _services_of(self, form: Form) -> list[ServiceRow]:
        from dynamo_tui.tui import planning

        source = planning.parse(form.words())
        if is_archive(form.target):
            return []  # the daemon reads it when it is planned
        if may_be_tag(form.target, form.working_dir or None):
            with suppress(NotFound):  # then it is a module after all, as `dynamoctl submit` takes it
                return rows_of_build(await self.connection.client.send(calls.build(form.target)))
        return rows_of_spec(await asyncio.to_thread(source.spec))

    # -- drawing --------------------------------------------------------------------------------------------

    def _show(self) -> None:
        form = self.form

        def fact(label: str, text: str, key: str) -> list[Run]:
            value = (text or figures.MISSING, Tone.TEXT if text else Tone.MUTED)
            return [(f" {label:<8}", Tone.MUTED), value, (f"  {key}", Tone.ACCENT)]

        lines = [
            fact("target", form.target, "t"),
            fact("config", form.config_file, "f"),
            fact("from", form.working_dir or ".", "w"),
            [*fact("name", form.name, "n"), (f"    runs as {form.driver}", Tone.TEXT), ("  o", Tone.ACCENT)],
            fact("env", " ".join(f"{k}={v}" for k, v in form.envs.items()), "V"),
        ]
        if self.problem:
            lines.append([(f" {self.problem}", Tone.BAD)])
        elif self.inspecting:
            lines.append([(" inspecting …", Tone.INFO)])
        shown = self.query_one("#form", Lines)
        if form.target:
            pieces = textwrap.wrap(f"$ {self.command}", max(20, shown.size.width - 3), break_on_hyphens=False)
            lines += [[(f" {piece}", Tone.ACCENT)] for piece in pieces]
        shown.set_lines(lines)
        self.table.refresh()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)  # once the parts have their new width

    @property
    def command(self) -> str:
        return shlex.join(["dynamoctl", "submit", *self.form.words()])

    def _overridden(self, row: ServiceRow, key: str, found: str) -> tuple[Run, ...]:
        said = self.form.of(row.name).get(key)
        return ((found, Tone.TEXT),) if said is None else ((said, Tone.WARN),)

    def _replicas(self, row: ServiceRow) -> tuple[Run, ...]:
        return self._overridden(row, "ServiceArgs.workers", str(row.workers))

    def _gpus(self, row: ServiceRow) -> tuple[Run, ...]:
        return self._overridden(row, "ServiceArgs.resources.gpu", f"{row.gpu:g}")

    def _overrides(self, row: ServiceRow) -> tuple[Run, ...]:
        said = [f"{k.removeprefix('ServiceArgs.')}={v}" for k, v in self.form.of(row.name).items()]
        return ((" ".join(said) or figures.MISSING, Tone.WARN if said else Tone.MUTED),)

    def apply_filter(self, text: str) -> None:
        """Files until there are services, services from then on."""
        if self.table.total and text:
            self.table.set_filter(text)
            return
        self.table.set_filter("")
        if text != self.picker.filter:
            self.picker.filter = text
            self.picker.reload()

    # -- actions --------------------------------------------------------------------------------------------

    def _ask(
        self,
        label: str,
        change: Callable[[str], Form],
        *,
        value: str = "",
        hint: str = "",
        complete: Callable[[str], Sequence[str]] | None = None,
        inspect: bool = False,
    ) -> None:
        def answered(text: str) -> None:
            try:
                self.set_form(change(text), inspect=inspect and bool(self.form.target or text))
            except FormError as error:
                self.notify(str(error), severity="warning")

        self.dashboard.ask(label, answered, value=value, hint=hint, complete=complete)

    def _of_service(self, ask: Callable[[ServiceRow], None]) -> None:
        if (row := self.table.row) is None:
            self.notify("choose a target with services first")
        else:
            ask(row)

    def action_target(self) -> None:
        self._ask(
            "target",
            lambda text: replace(self.form, target=text.strip(), overrides={}),
            value=self.form.target,
            hint="module:Class, path.py:Class, a build's tag or its archive; tab completes",
            complete=complete_path,
            inspect=True,
        )

    def action_config_file(self) -> None:
        self._ask(
            "configuration file",
            lambda text: replace(self.form, config_file=text.strip()),
            value=self.form.config_file,
            complete=complete_path,
            inspect=True,
        )

    def action_working_dir(self) -> None:
        self._ask(
            "working directory",
            lambda text: replace(self.form, working_dir=text.strip()),
            value=self.form.working_dir,
            complete=complete_path,
            inspect=True,
        )

    def action_name(self) -> None:
        self._ask("name", lambda text: replace(self.form, name=text.strip()), value=self.form.name)

    def action_driver(self) -> None:
        following = DRIVERS[(DRIVERS.index(self.form.driver) + 1) % len(DRIVERS)]
        self.set_form(self.form.with_driver(following))

    def action_common_variable(self) -> None:
        self._ask(
            "variable of every replica",
            lambda text: self.form.with_env(None, text),
            hint="KEY=VALUE; KEY= takes it away",
            complete=lambda text: complete_pair(list(self.form.envs), text),
        )

    def action_replicas(self) -> None:
        self._of_service(
            lambda row: self._ask(
                f"replicas of {row.name}", lambda text: self.form.with_replicas(row.name, text), value=str(row.workers)
            )
        )

    def action_gpus(self) -> None:
        self._of_service(
            lambda row: self._ask(
                f"GPUs of each {row.name}",
                lambda text: self.form.with_gpus(row.name, text),
                value=f"{row.gpu:g}",
                hint="a fraction shares one",
            )
        )

    def action_variable(self) -> None:
        self._of_service(
            lambda row: self._ask(
                f"variable of {row.name}",
                lambda text: self.form.with_env(row.name, text),
                hint="KEY=VALUE; KEY= takes it away",
                complete=lambda text: complete_pair(row.envs, text),
            )
        )

    def action_config_key(self) -> None:
        self._of_service(
            lambda row: self._ask(
                f"config of {row.name}",
                lambda text: self.form.with_config(row.name, text),
                hint="  ".join(row.config) or "key=value, dotted where it is nested",
                complete=lambda text: complete_pair(row.config, text),
            )
        )

    def action_clear(self) -> None:
        self._of_service(lambda row: self.set_form(self.form.without(row.name)))

    def action_plan(self) -> None:
        if not self.form.target:
            self.notify("choose a target first: enter on a module, or t")
        elif not self.dashboard.refused():
            self.dashboard.submit(self.form.words())

    def action_other_part(self) -> None:
        self.screen.set_focus(self.table if self.picker.has_focus else self.picker)
