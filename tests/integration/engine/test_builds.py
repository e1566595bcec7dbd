"""Graphs from builds: resolved to sources and environment, recorded on the revision, kept while they are needed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dynamo.sdk.spec import GraphSpec
from dynamod.core.errors import Conflict, Invalid, NotFound
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import BuildSettings, GraphSubmit
from tests.integration.engine.support import graph, replicas, service, until_state, where
from tests.unit.dynamod.builds.making import make_archive

REPLICA = """
import signal, sys, time
service = sys.argv[sys.argv.index("--service-name") + 1]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(service, "is up from", sys.prefix, flush=True)
while True:
    time.sleep(60)
"""
INSPECT = """
import json, pathlib, sys
options = dict(one.split("=", 1) for one in sys.argv[2:] if "=" in one)
spec = json.loads(pathlib.Path("spec.json").read_text())
if "--A.bad" in options:
    sys.exit("error: A.bad: means nothing")
spec["config"] = json.loads(pathlib.Path(options["--file"]).read_text())
spec["services"][0]["workers"] = int(options["--A.ServiceArgs.workers"])
print(json.dumps(spec))
"""


def archive(directory: Path, version: str = "1") -> Path:
    """A build whose replicas need no package: `dynamo.sdk` is in its sources."""
    spec: GraphSpec = msgspec.structs.replace(
        graph(directory, service("A")), interpreter="", working_dir="", config={"A": {"size": 1, "kept": True}}
    )
    files = {
        "dynamo/sdk/replica.py": REPLICA,
        "dynamo/sdk/inspect.py": INSPECT,
        "spec.json": msgspec.json.encode(spec).decode(),
        "version.txt": version,
    }
    return make_archive(directory, files, version=version, spec=spec)


@pytest.fixture
async def engine(tmp_path: Path):
    running = Engine(where(tmp_path), options=EngineOptions())
    await running.start()
    yield running
    await running.stop(stop_graphs=True)


async def add(engine: Engine, path: Path) -> str:
    build, _ = await engine.add_build(path, force=False, actor="user:1")
    return build.digest


async def test_a_build_runs_from_its_own_sources_and_environment(tmp_path: Path, engine: Engine) -> None:
    digest = await add(engine, archive(tmp_path))
    _, created = await engine.submit(GraphSubmit(build="g:1"), actor="user:1")
    assert created
    await until_state(engine, "demo", "ready")
    revision = await engine.revision("default", "demo", 1)
    assert revision.build == digest
    assert revision.spec is not None
    assert Path(revision.spec.working_dir, "version.txt").read_text() == "1"
    assert str(engine.where.builds_dir) in revision.spec.interpreter
    _, changed = await engine.submit(GraphSubmit(build=digest), actor="user:1")
    assert not changed
    assert (await engine.build("g")).used_by == ["default/demo"]
    with pytest.raises(Conflict, match="used by default/demo"):
        await engine.remove_build("g", actor="user:1")


async def test_settings_go_on_top_of_what_was_built(tmp_path: Path, engine: Engine) -> None:
    await add(engine, archive(tmp_path))
    settings = BuildSettings(config="A: {size: 2}", overrides=("--A.ServiceArgs.workers=2",))
    await engine.submit(GraphSubmit(build="g:1", settings=settings), actor="user:1")
    await until_state(engine, "demo", "ready")
    assert len(await replicas(engine, "A")) == 2
    revision = await engine.revision("default", "demo", 1)
    assert revision.spec is not None
    assert revision.spec.config == {"A": {"size": 2, "kept": True}}
    for wrong, words in (
        (BuildSettings(overrides=("--A.bad=1",)), "A.bad: means nothing"),
        (BuildSettings(overrides=("--file=/etc/passwd",)), "is no override"),
        (BuildSettings(config="- a list"), "a mapping"),
    ):
        with pytest.raises(Invalid, match=words):
            await engine.plan(GraphSubmit(build="g:1", settings=wrong), actor="user:1")


async def test_a_new_build_is_a_new_revision_that_can_be_planned_and_taken_back(tmp_path: Path, engine: Engine) -> None:
    first = await add(engine, archive(tmp_path))
    await engine.submit(GraphSubmit(build="g:1"), actor="user:1")
    await until_state(engine, "demo", "ready")
    second = await add(engine, archive(tmp_path, "2"))
    plan = await engine.plan(GraphSubmit(build="g:2"), actor="user:1")
    assert ("build", first, second) in [(change.path, change.before, change.after) for change in plan.changes]
    await engine.apply(plan.id, actor="user:1")
    assert [revision.build for revision in await engine.revisions("default", "demo")] == [second, first]
    with pytest.raises(Conflict):
        await engine.remove_build("g:1", actor="user:1")


async def test_what_cannot_be_resolved_changes_nothing(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.submit(GraphSubmit(build="g:1"), actor="user:1")
    with pytest.raises(Invalid, match="what is to run"):
        await engine.submit(GraphSubmit(), actor="user:1")
    spec = graph(tmp_path, service("A"))
    with pytest.raises(Invalid, match="settings go with a build"):
        await engine.submit(GraphSubmit(spec=spec, settings=BuildSettings(port=1)), actor="user:1")
    assert (await engine.graphs()).items == []
