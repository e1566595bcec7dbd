"""What plans, the form of a submit, jobs and the switcher look like: SVG snapshots, as in `test_looks`.

After a wanted change: `pytest tests/unit/dynamo_tui/tui/test_looks_of_changes.py --snapshot-update -n 0`, and look.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.dialogs.contexts import ContextRow, Contexts
from dynamo_tui.tui.jobs import Job, JobState
from dynamo_tui.tui.submit_form import Form
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.looks import SIZES, THEMES, Pages, no_colour_where_asked, set_theme, walk
from tests.unit.dynamo_tui.tui.stand_in import StandIn
from tests.unit.dynamo_tui.tui.test_submit import GRAPH

__all__ = ["no_colour_where_asked"]

PLANS: Pages = {
    "plan-confirm": (["colon", *"scale VllmWorker=6", "enter"], "6 wanted, 4 there"),
    "plan": (["p"], "placed"),
    "plan-rollback": (["escape", "wait:Processor-1", "R", "wait:revision 2 comes back", "p"], "config.VllmWorker"),
}


@pytest.mark.timeout(300)  # many pages, and each may take long on a busy machine
@pytest.mark.usefixtures("no_colour_where_asked")
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x60"])
@pytest.mark.parametrize("theme", THEMES)
async def test_changes(
    daemon: StandIn,
    socket_path: Path,
    theme: str,
    size: tuple[int, int],
    snapshot: SnapshotAssertion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "two.py").write_text(GRAPH)
    (project / "conf.yaml").write_text("Worker:\n  model: small\n")
    monkeypatch.chdir(project)
    async with dashboard(socket_path, size=size, graph="agg_router") as pilot:
        app = pilot.app
        set_theme(pilot, theme)
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await walk(pilot, snapshot, PLANS)
        form = Form(target="two.py", name="duo").with_replicas("Worker", "4").with_env(None, "LOG=debug")
        app.open_submit(form.with_config("Worker", "model=large"))
        await walk(pilot, snapshot, {"submit": ([], "model=large")})
        done = Job(["build", "two:Front"], app.context, now=lambda: world.NOW)
        done.lines.extend(["  reading two:Front", "  locking 12 packages", "Successfully built two:5f1e."])
        done.end(JobState.DONE)
        running = Job(["deploy", "two:Front", "--target", "docker"], app.context, now=lambda: world.NOW)
        running.lines.append("  making an image of two:5f1e")
        app.jobs += [done, running]
        app.open_jobs()
        await walk(pilot, snapshot, {"jobs": (["wait:making an image"], "Front --target docker")})
        here = ContextRow("local", "/run/dynamod/api.sock", app.session, current=True)
        away = ContextRow("lab", Context(name="lab", url="https://lab.example:9000").address, None, current=False)
        app.push_screen(Contexts([here, away]))
        await walk(pilot, snapshot, {"contexts": ([], "https://lab.example:9000")})
