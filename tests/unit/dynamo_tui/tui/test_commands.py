"""Every `:` command is typed by a test, and the palette offers every key and every command.

A new command fails here until it stands in one of the lists below.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.command import DiscoveryHit

from dynamo_tui.tui.commands import COMMANDS, complete
from dynamo_tui.tui.dialogs.confirm import Confirm
from dynamo_tui.tui.dialogs.keys import Help
from dynamo_tui.tui.palette_commands import Actions
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

HERE = Path(__file__).parent
PLACES = {
    "graphs": "GraphsView",
    "graph agg_router": "GraphView",
    "replica agg_router-router-1": "ReplicaView",
    "logs Router": "LogsView",
    "kv agg_router": "KvView",
    "metrics agg_router": "MetricsView",
    "gpus": "GpusView",
    "events": "EventsView",
    "builds": "BuildsView",
    "jobs": "JobsView",
}
"""The page that each leads to."""
CHANGES = {
    "scale VllmWorker=6": "scale",
    "restart Router": "restart",
    "drain Router": "drain",
    "stop agg_router": "stop",
    "start agg_router": "start",
    "rm agg_router": "remove",
    "rollback 2": "rollback",
}
"""The change that the daemon is asked to plan."""
JOBS = ("build two:Front -t two:1", "deploy two:Front --target docker", "containerize two:1")
ELSEWHERE = {
    "submit": "test_plans.py",
    "plan": "test_plans.py",
    "context": "test_contexts.py",
    "theme": "test_places.py",
    "past": "test_time_travel.py",
    "live": "test_time_travel.py",
}
"""Commands that are typed in another file."""
HERE_ALONE = ("help", "quit")


def test_every_command_is_typed_by_a_test() -> None:
    typed = {line.split()[0] for line in (*PLACES, *CHANGES, *JOBS)} | set(ELSEWHERE) | set(HERE_ALONE)
    assert set(COMMANDS) - typed == set(), "no test types these"
    assert typed - set(COMMANDS) == set(), "there are no such commands"
    for name, file in ELSEWHERE.items():
        assert f'*"{name}' in (HERE / file).read_text(encoding="utf-8"), f"{file} does not type :{name}"


async def test_commands_lead_to_pages(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        for line, page in PLACES.items():
            pilot.app.run_command("graph agg_router")
            await until(pilot, lambda: type(pilot.app.view).__name__ == "GraphView")
            await pilot.press("colon")
            pilot.app.prompt.input.value = line
            await pilot.press("enter")
            await until(pilot, lambda page=page: type(pilot.app.view).__name__ == page)


async def test_commands_ask_for_plans_of_changes(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        for number, (line, action) in enumerate(CHANGES.items()):
            await pilot.press("colon")
            pilot.app.prompt.input.value = line
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
            change = json.loads(daemon.requests[number][2])["change"]
            assert (change["graph"], change["action"]) == ("agg_router", action)
            await pilot.press("n")
            await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))


async def test_commands_that_take_a_while_say_what_they_run(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        for line in JOBS:
            await pilot.press("colon")
            pilot.app.prompt.input.value = line
            await pilot.press("enter")
            await until(pilot, lambda line=line: f"$ dynamoctl {line}" in screen_text(pilot))
            await pilot.press("n")
            await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        await pilot.press("colon", *"build", "enter")
        await until(pilot, lambda: "name what: :build TARGET" in screen_text(pilot))
        assert pilot.app.jobs == []


async def test_commands_complete_their_first_argument(
    daemon: StandIn, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNAMOD_CONFIG", str(tmp_path / "none.json"))
    async with dashboard(socket_path, graph="agg_router") as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        assert complete(app, "re") == ["replica", "restart"]
        assert complete(app, "scale V") == ["scale VllmWorker="]
        assert complete(app, "drain r") == ["drain Router"]
        assert complete(app, "stop h") == ["stop hello_world"]
        assert complete(app, "submit mod") == ["submit module.py"]
        assert complete(app, "context l") == ["context local"]
        assert complete(app, "containerize a") == []
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        assert complete(app, "containerize a") == ["containerize agg_router:2", "containerize agg_router:1"]


async def test_help_and_quit(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"help", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Help))
        await pilot.press("colon", *"quit", "enter")
        await until(pilot, lambda: not pilot.app.is_running or pilot.app.return_value == 0)


async def test_the_palette_offers_every_command_and_every_key_of_the_page(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        hits = [hit async for hit in Actions(app.screen).discover() if isinstance(hit, DiscoveryHit)]
        offered = {str(hit.text or hit.display) for hit in hits}
        assert {f":{name}" for name in COMMANDS} - offered == set()
        described = {
            binding.description
            for owner in (type(app), type(app.view))
            for binding in owner.BINDINGS
            if binding.description
        }
        # Two keys of one action are one offer, and where a page has a key of its own for it, that one counts.
        missing = described - offered
        actions = {a.binding.action for a in app.screen.active_bindings.values() if a.binding.description in offered}
        for owner in (type(app), type(app.view)):
            for binding in owner.BINDINGS:
                if binding.description in missing and app.check_action(*_parsed(binding.action)) is not False:
                    assert binding.action in actions, f"{binding.description} ({binding.key}) is not offered"


def _parsed(action: str) -> tuple[str, tuple[object, ...]]:
    from textual.actions import parse

    _, name, parameters = parse(action)
    return name, parameters
