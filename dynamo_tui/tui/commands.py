"""The `:` commands: what each is called, what it takes, how it is completed, and what it does."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dynamo_tui.client.contexts import known_contexts
from dynamo_tui.tui import figures
from dynamo_tui.tui.operations import NotPossible
from dynamo_tui.tui.store import GraphKey
from dynamo_tui.tui.submit_form import complete_path

if TYPE_CHECKING:
    from dynamo_tui.tui.app import Dashboard

Words = Sequence[str]


class UsageError(Exception):
    """A command that cannot be understood; the message says how it is written."""


@dataclass(frozen=True)
class Command:
    """`usage` begins with the name. `changes`: refused in read-only mode."""

    usage: str
    summary: str
    run: Callable[[Dashboard, Words], None]
    complete: Callable[[Dashboard], Sequence[str]] | None = None
    changes: bool = False
    paths: bool = False
    """What is completed are files."""

    @property
    def name(self) -> str:
        return self.usage.split()[0]


def graph_at_hand(app: Dashboard, words: Words = ()) -> GraphKey:
    """The graph that is named, else the one that the page is about, else the only one.

    Raises:
        UsageError: none of them is there.
    """
    if words:
        project, _, name = words[0].rpartition("/")
        key = GraphKey(project or app.context.project, name)
        if key not in app.store.graphs:
            raise UsageError(f"there is no graph {key}")
        return key
    key_or_none = app.view.graph_key
    if key_or_none is not None:
        return key_or_none
    if len(app.store.graphs) == 1:
        return next(iter(app.store.graphs))
    raise UsageError("which graph? put the cursor on it, or name it")


def _graph_names(app: Dashboard) -> list[str]:
    return sorted(str(key) for key in app.store.graphs)


def _services(app: Dashboard) -> list[str]:
    key = app.view.graph_key
    graph = app.store.graphs.get(key) if key else None
    return [s.name for s in graph.services] if graph else []


def _scale(app: Dashboard, words: Words) -> None:
    service, separator, number = words[0].partition("=") if words else ("", "", "")
    if not separator:
        raise UsageError("write it as :scale SERVICE=N")
    if not number.isdigit():
        raise UsageError(f"{number!r} is not a number of replicas")
    app.confirm(app.operations.scale(graph_at_hand(app), service, int(number)))


def _restart(app: Dashboard, words: Words) -> None:
    app.confirm(app.operations.restart(graph_at_hand(app), words[0] if words else None))


def _rollback(app: Dashboard, words: Words) -> None:
    if words and not words[0].isdigit():
        raise UsageError(f"{words[0]!r} is not a revision number")
    app.confirm(app.operations.rollback(graph_at_hand(app), int(words[0]) if words else None))


def _logs(app: Dashboard, words: Words) -> None:
    app.open_logs(graph_at_hand(app), service=words[0] if words else None)


def _replica(app: Dashboard, words: Words) -> None:
    key = graph_at_hand(app)
    wanted = words[0] if words else app.view.replica_id
    if wanted is None or app.store.replica(key, wanted) is None:
        raise UsageError("which replica? :replica ID" if wanted is None else f"{key} has no replica {wanted}")
    app.open_replica(key, wanted)


def _replica_ids(app: Dashboard) -> list[str]:
    key = app.view.graph_key
    return [r.id for r in app.store.replicas_of(key)] if key else []


def _past(app: Dashboard, words: Words) -> None:
    if len(words) != 1:
        raise UsageError("write it as :past 14:02, or :past 10m")
    moment = figures.parse_moment(words[0], app.session.present())
    if moment is None:
        raise UsageError(f"{words[0]!r} is neither a time of day nor 90s, 10m or 2h ago")
    app.go_to(moment)


def _theme(app: Dashboard, words: Words) -> None:
    if not words or words[0] not in app.available_themes:
        raise UsageError("themes: " + ", ".join(sorted(app.available_themes)))
    app.theme = words[0]


def _context(app: Dashboard, words: Words) -> None:
    if not words:
        app.action_contexts()
        return
    app.look_at(words[0])


def _submit(app: Dashboard, words: Words) -> None:
    if words:
        app.submit(list(words))
    else:
        app.open_submit()


def _job(kind: Literal["build", "deploy", "containerize"]) -> Callable[[Dashboard, Words], None]:
    def start(app: Dashboard, words: Words) -> None:
        app.confirm(getattr(app.operations, kind)(words))

    return start


def _build_tags(app: Dashboard) -> list[str]:
    return app.session.build_tags


def _plan(app: Dashboard, words: Words) -> None:
    """A graph that is there: what is to be done for it; anything else is what would be submitted."""
    if not words or (len(words) == 1 and words[0] in _graph_names(app)):
        app.show_plan(app.operations.settle(graph_at_hand(app, words)))
    else:
        app.submit(list(words))


def _drain(app: Dashboard, words: Words) -> None:
    key = graph_at_hand(app)
    named = words[0] if words else None
    if named is not None and app.store.replica(key, named) is not None:
        app.confirm(app.operations.drain(key, None, named))
    else:
        app.confirm(app.operations.drain(key, named or app.view.service))


def _parts(app: Dashboard) -> list[str]:
    return [*_services(app), *_replica_ids(app)]


_TABLE = [
    Command("graphs", "all graphs", lambda app, _: app.action_panel("graphs")),
    Command("graph [NAME]", "one graph", lambda app, w: app.open_graph(graph_at_hand(app, w)), _graph_names),
    Command("replica [ID]", "one replica: why, environment, log", _replica, _replica_ids),
    Command("logs [SERVICE]", "logs, merged by time", _logs, _services),
    Command("kv [GRAPH]", "the KV router", lambda app, w: app.open_kv(graph_at_hand(app, w)), _graph_names),
    Command(
        "metrics [GRAPH]", "figures over time", lambda app, w: app.open_metrics(graph_at_hand(app, w)), _graph_names
    ),
    Command("gpus", "GPUs: claimed, granted, held", lambda app, _: app.action_panel("gpus")),
    Command("events", "what happened, by whom, why", lambda app, _: app.action_panel("events")),
    Command("builds", "builds that the daemon keeps", lambda app, _: app.action_panel("builds")),
    Command(
        "scale SERVICE=N",
        "set how many replicas a service has",
        _scale,
        lambda a: [f"{s}=" for s in _services(a)],
        True,
    ),
    Command("restart [SERVICE]", "restart the graph or one service", _restart, _services, True),
    Command(
        "stop [GRAPH]",
        "drain and stop a graph",
        lambda app, w: app.confirm(app.operations.stop(graph_at_hand(app, w))),
        _graph_names,
        True,
    ),
    Command(
        "start [GRAPH]",
        "start a stopped graph",
        lambda app, w: app.confirm(app.operations.start(graph_at_hand(app, w))),
        _graph_names,
        True,
    ),
    Command(
        "rm [GRAPH]",
        "stop a graph and forget it",
        lambda app, w: app.confirm(app.operations.remove(graph_at_hand(app, w))),
        _graph_names,
        True,
    ),
    Command("rollback [REVISION]", "go back to an earlier revision", _rollback, None, True),
    Command("drain [SERVICE|REPLICA]", "let it finish, and a fresh one take its place", _drain, _parts, True),
    Command("submit [TARGET …]", "plan a submit, show it, apply it; alone, a form", _submit, None, True, True),
    Command("build TARGET [OPTIONS]", "make a build of a graph", _job("build"), None, True, True),
    Command(
        "deploy TARGET [OPTIONS]",
        "build a graph and run it: --target local, docker …",
        _job("deploy"),
        None,
        True,
        True,
    ),
    Command("containerize BUILD [OPTIONS]", "make an image of a build", _job("containerize"), _build_tags, True),
    Command("jobs", "builds and deployments in the making", lambda app, _: app.open_jobs()),
    Command(
        "plan [GRAPH | TARGET …]", "what is to be done for a graph, or what a submit would do", _plan, _graph_names
    ),
    Command("past TIME", "show the past: 14:02[:30], or 10m for ten minutes ago", _past),
    Command("live", "show the present again", lambda app, _: app.action_leave_past()),
    Command("theme NAME", "change the colours", _theme, lambda app: sorted(app.available_themes)),
    Command("context [NAME]", "look at another daemon in this tab", _context, lambda _: known_contexts(os.environ)),
    Command("help", "keys and commands", lambda app, _: app.action_keys()),
    Command("quit", "leave", lambda app, _: app.exit(0)),
]
COMMANDS = {command.name: command for command in _TABLE}
_SHORT = {"q": "quit", "g": "graphs", "ev": "events", "log": "logs", "gpu": "gpus", "delete": "rm"}


def run(app: Dashboard, line: str) -> None:
    """Carry out one line; what is wrong with it is said on screen."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        app.notify(f":{line}: {error}", severity="warning")
        return
    if not words:
        return
    name = _SHORT.get(words[0], words[0])
    command = COMMANDS.get(name)
    if command is None:
        near = [c for c in COMMANDS if c.startswith(name)]
        if len(near) != 1:
            app.notify(f"there is no command :{words[0]}; tab completes, ? lists them", severity="warning")
            return
        command = COMMANDS[near[0]]
    if command.changes and app.refusal:
        app.notify(f":{command.name} changes something, and {app.refusal}", severity="warning")
        return
    try:
        command.run(app, words[1:])
    except (UsageError, NotPossible) as error:
        app.notify(str(error), severity="warning")


def complete(app: Dashboard, line: str) -> list[str]:
    """What the line may become: a command's name, or its first argument."""
    name, separator, rest = line.partition(" ")
    if not separator:
        return [c for c in COMMANDS if c.startswith(name)]
    command = COMMANDS.get(_SHORT.get(name, name))
    if command is not None and command.paths and " " not in rest:
        return [f"{name} {path}" for path in complete_path(rest)]
    if command is None or command.complete is None or " " in rest:
        return []
    return [f"{name} {option}" for option in command.complete(app) if option.lower().startswith(rest.lower())]
