"""Builds that are kept: tags move, used ones stay, what is unsafe or damaged never gets in."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamod.builds.errors import BadArchive
from dynamod.builds.store import BuildStore
from dynamod.core.errors import Conflict, Invalid, NotFound
from dynamod.schema.builds import Build, PruneRequest
from dynamod.schema.events import Event
from dynamod.store.database import Store
from tests.unit.dynamod.builds.making import make_archive


class Keeping:
    """A store of builds, the events it tells of, and the graphs that are said to use a digest."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home = home
        self.events: list[Event] = []
        self.used: dict[str, list[str]] = {}
        self.clock = 1000.0
        self.builds = BuildStore(home, store, self.events.extend, lambda digest: self.used.get(digest, []), self.now)

    def now(self) -> float:
        self.clock += 1
        return self.clock

    async def add(self, archive: Path, *, force: bool = False, expected: str | None = None) -> tuple[Build, bool]:
        upload = archive.with_suffix(".upload")
        upload.write_bytes(archive.read_bytes())
        return await self.builds.add(upload, force=force, actor="user:1", expected=expected)

    async def tags(self) -> list[str]:
        return [build.tag for build in await self.builds.all()]


@pytest.fixture
async def keeping(tmp_path: Path) -> AsyncIterator[Keeping]:
    store = await Store.open(tmp_path / "store.db")
    yield Keeping(tmp_path / "builds", store)
    await store.close()


async def test_a_build_is_found_by_tag_name_and_digest(tmp_path: Path, keeping: Keeping) -> None:
    archive = make_archive(tmp_path, {"m.py": "A = 1\n"})
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    build, new = await keeping.add(archive, expected=checksum)
    assert (new, build.tag, build.sha256) == (True, "g:1", checksum)
    assert Path(build.path).read_bytes() == archive.read_bytes()
    for reference in ("g:1", "g", build.digest, build.digest[:8], f"sha256:{build.digest}"):
        assert (await keeping.builds.find(reference)).tag == "g:1"
    for reference in ("g:2", "h", build.digest[:3], "0" * 64):
        with pytest.raises(NotFound, match="there is g:1"):
            await keeping.builds.find(reference)
    assert await keeping.add(archive) == (build, False)
    assert [event.action for event in keeping.events] == ["build.created"]
    assert keeping.events[0].data == {"build": "g:1", "digest": build.digest}


async def test_what_arrives_damaged_or_lies_about_itself_is_refused(tmp_path: Path, keeping: Keeping) -> None:
    archive = make_archive(tmp_path, {"m.py": "A = 1\n"})
    with pytest.raises(Invalid, match="another checksum"):
        await keeping.add(archive, expected="0" * 64)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BadArchive):
        await keeping.add(cut)
    with pytest.raises(BadArchive, match="is no tag"):
        await keeping.add(make_archive(tmp_path, {"m.py": ""}, name="g", version=".."))
    assert await keeping.tags() == []


async def test_a_tag_moves_only_by_force_and_a_used_build_stays(tmp_path: Path, keeping: Keeping) -> None:
    first, _ = await keeping.add(make_archive(tmp_path, {"m.py": "A = 1\n"}))
    keeping.used[first.digest] = ["default/g"]
    second = make_archive(tmp_path, {"m.py": "A = 2\n"})
    with pytest.raises(Conflict, match="g:1 is there already"):
        await keeping.add(second)
    moved, _ = await keeping.add(second, force=True)
    assert moved.digest != first.digest
    aside = await keeping.builds.find(first.digest)
    assert aside.tag == f"g:{first.digest[:12]}"
    assert Path(aside.path).is_file()
    assert aside.used_by == ["default/g"]
    with pytest.raises(Conflict, match="used by default/g"):
        await keeping.builds.remove(aside.tag, actor="user:1")
    keeping.used.clear()
    await keeping.builds.remove(aside.tag, actor="user:1")
    assert await keeping.tags() == ["g:1"]
    assert not Path(aside.path).parent.exists()


async def test_an_unused_build_goes_when_its_tag_is_taken(tmp_path: Path, keeping: Keeping) -> None:
    first, _ = await keeping.add(make_archive(tmp_path, {"m.py": "A = 1\n"}))
    await keeping.add(make_archive(tmp_path, {"m.py": "A = 2\n"}), force=True)
    assert await keeping.tags() == ["g:1"]
    assert not Path(first.path).exists()


async def test_one_of_two_tags_of_a_used_build_may_go(tmp_path: Path, keeping: Keeping) -> None:
    build, _ = await keeping.add(make_archive(tmp_path, {"m.py": "A = 1\n"}))
    await keeping.add(make_archive(tmp_path, {"m.py": "A = 1\n"}, version="2"))
    keeping.used[build.digest] = ["default/g"]
    await keeping.builds.remove("g:1", actor="user:1")
    assert await keeping.tags() == ["g:2"]
    assert keeping.events[-1].action == "build.removed"
    with keeping.builds.pinned(build.digest), pytest.raises(Conflict):
        await keeping.builds.remove("g:2", actor="user:1")


async def test_archives_that_were_kept_without_a_daemon_are_found_later(tmp_path: Path, keeping: Keeping) -> None:
    archive = make_archive(tmp_path, {"m.py": "A = 1\n"})
    build, _ = await keeping.add(archive)
    await keeping.builds.remove("g:1", actor="user:1")
    keeping.builds.layout.keep(archive, build.digest, "g", "1")
    broken = keeping.builds.layout.archive("0" * 64, "broken", "1")
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no archive")
    await keeping.builds.adopt()
    await keeping.builds.adopt()
    assert await keeping.tags() == ["g:1"]
    assert [event.actor for event in keeping.events][-1] == "engine"


async def test_preparing_unpacks_makes_an_environment_once_and_tells(tmp_path: Path, keeping: Keeping) -> None:
    await keeping.add(make_archive(tmp_path, {"m.py": "A = 1\n"}))
    prepared = await keeping.builds.prepare("g:1", actor="user:1")
    assert (prepared.sources / "m.py").read_text() == "A = 1\n"
    assert prepared.interpreter.is_file()
    told = [event.message for event in keeping.events if event.action == "build.progress"]
    assert told[0] == "g:1: unpacking the sources"
    assert await keeping.builds.prepare("g:1", actor="user:1") is not None
    assert [e.message for e in keeping.events if e.action == "build.progress"] == told
    await keeping.builds.remove("g:1", actor="user:1")
    assert not prepared.tree.exists()
    assert not prepared.interpreter.exists()


async def test_a_missing_python_is_one_clear_failure(tmp_path: Path, keeping: Keeping) -> None:
    await keeping.add(make_archive(tmp_path, {"m.py": ""}, python="3.1"))
    with pytest.raises(Exception, match=r"needs Python 3\.1"):
        await keeping.builds.prepare("g:1", actor="user:1")
    assert keeping.events[-1].action == "build.failed"


async def test_pruning_keeps_what_is_used_and_the_newest(tmp_path: Path, keeping: Keeping) -> None:
    made = []
    for version in ("1", "2", "3", "4"):
        archive = make_archive(tmp_path, {"m.py": f"A = {version}\n"}, name="g", version=version)
        made.append((await keeping.add(archive))[0])
    keeping.used[made[1].digest] = ["default/g"]
    lonely = keeping.home / "environments" / ("0" * 32)
    lonely.mkdir(parents=True)
    asked = await keeping.builds.prune(PruneRequest(dry_run=True), actor="user:1")
    assert asked.builds == ["g:1", "g:3"]
    assert len(await keeping.tags()) == 4
    assert await keeping.builds.prune(PruneRequest(), actor="user:1") == asked
    assert sorted(await keeping.tags()) == ["g:2", "g:4"]
    assert [Path(build.path).exists() for build in made] == [False, True, False, True]
    assert not lonely.exists()
    with keeping.builds.pinned(made[3].digest):
        assert (await keeping.builds.prune(PruneRequest(keep=0), actor="user:1")).builds == []
