"""The builds that a daemon keeps: archives on disk by digest, tags in the database."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec
from dynamod.core.errors import Conflict, DiskFull, EngineError, Invalid, NotFound, StoreError
from dynamod.core.records import BuildRecord
from dynamod.core.retention import superfluous
from dynamod.schema.builds import Build, Pruned, PruneRequest
from dynamod.schema.states import Action
from dynamod.store import queries, tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import OnWritten, Store

if TYPE_CHECKING:  # archives need YAML and git's patterns: a daemon that is asked for no build pays for neither
    from dynamod.builds.layout import Layout, Prepared

log = logging.getLogger(__name__)

LEAST_DIGEST = 6
"""Digits of a digest that name a build."""
MAX_NAME = 128
_HEX = frozenset("0123456789abcdef")

Users = Callable[[str], Sequence[str]]


class BuildStore:
    """`users(digest)` names the graphs that need a build; `publish` takes the events that were written."""

    def __init__(self, home: Path, store: Store, publish: OnWritten, users: Users, now: Callable[[], float]) -> None:
        self.home = home
        self._store = store
        self._publish = publish
        self._users = users
        self._now = now
        self._changing = asyncio.Lock()
        self._pinned: Counter[str] = Counter()

    @property
    def layout(self) -> Layout:
        from dynamod.builds.layout import Layout

        return Layout(self.home)

    async def all(self) -> list[Build]:
        """By name, the newest of each name first."""
        return [self._shown(record) for record in await self._store.read(queries.builds)]

    async def find(self, reference: str) -> Build:
        """The build that a tag (`name:version`, or `name` for its newest) or the beginning of a digest names.

        Raises:
            NotFound: there is none, or the digest's beginning fits several.
        """
        return self._shown(await self._find(reference))

    async def add(self, upload: Path, *, force: bool, actor: str, expected: str | None = None) -> tuple[Build, bool]:
        """Take an archive in; `upload` is moved. Whether it was new. The same archive twice changes nothing.

        Args:
            force: let the tag name this build where it names another.
            expected: the SHA-256 of the archive as the sender has it.

        Raises:
            Invalid: it is not what the sender has.
            BadArchive: it is damaged, unsafe, or not what its manifest says.
            Conflict: the tag names another build.
            StoreError: the disk is full, …
        """
        try:
            build = await asyncio.to_thread(self._inspect, upload, expected)
            async with self._changing:
                return await self._take(upload, build, force, actor)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFull("the build cannot be kept") from None
            raise StoreError(f"the build cannot be kept: {error.strerror}") from None

    async def remove(self, reference: str, *, actor: str) -> Build:
        """Forget a tag, and the build itself with its last tag.

        Raises:
            NotFound: there is no such build.
            Conflict: it is the last tag of a build that a graph has a revision of.
        """
        async with self._changing:
            record = await self._find(reference)
            others = await self._store.read(lambda connection: queries.builds_of_digest(connection, record.digest))
            if len(others) == 1:
                self._check_unused(record)
            transaction = Transaction()
            transaction.delete(tables.builds, name=record.name, version=record.version)
            transaction.event(self._draft(Action.BUILD_REMOVED, actor, record, f"{record.tag} was removed"))
            await self._store.commit(transaction, self._publish)
            await asyncio.to_thread(self.layout.drop, record.digest, record.name, record.version)
            return record.build

    async def prune(self, wanted: PruneRequest, *, actor: str) -> Pruned:
        """Forget builds that nothing uses (see `retention`), with their trees and the environments of theirs alone."""
        builds = [one for one in await self.all() if not self._pinned[one.digest]]
        gone = superfluous(builds, wanted, self._now())
        if not wanted.dry_run:
            chosen, gone = gone, []
            for build in chosen:
                with suppress(Conflict, NotFound):  # somebody has begun to use it, or removed it, meanwhile
                    await self.remove(build.tag, actor=actor)
                    gone.append(build)
            await asyncio.to_thread(self.layout.sweep)
        return Pruned(builds=[build.tag for build in gone], bytes=sum(build.size for build in gone))

    async def adopt(self) -> None:
        """Take note of archives that were built here while no daemon ran."""
        if not self.home.is_dir():
            return
        known = {(r.digest, r.name, r.version) for r in await self._store.read(queries.builds)}
        for kept in await asyncio.to_thread(lambda: list(self.layout.kept())):
            if (kept.digest, kept.name, kept.version) in known:
                continue
            try:
                build = await asyncio.to_thread(self._inspect, kept.path, None)
                tag = f"{kept.name}:{kept.version}"  # an archive that was set aside has another than it was made with
                build = replace(build, name=kept.name, version=kept.version, tag=tag)
                async with self._changing:
                    await self._take(kept.path, build, True, "engine")
            except (EngineError, OSError) as error:
                log.warning("the build in %s is left alone: %s", kept.path, error)

    async def spec(self, reference: str) -> GraphSpec:
        """A build's graph, without making it ready to run.

        Raises:
            NotFound, BadArchive.
        """
        record = await self._find(reference)
        return await asyncio.to_thread(self._spec, self.layout.archive(record.digest, record.name, record.version))

    async def prepare(self, reference: str, *, actor: str) -> Prepared:
        """Make a build ready to run: unpacked, with its environment. Tells of every step by an event.

        Raises:
            NotFound, BadArchive, LockFailed, StoreError.
        """
        record = await self._find(reference)
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[str | None] = asyncio.Queue()

        def say(step: str) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        async def tell() -> None:
            while (step := await steps.get()) is not None:
                await self._tell(Action.BUILD_PROGRESS, actor, record, f"{record.tag}: {step}")

        telling = asyncio.ensure_future(tell())
        path = self.layout.archive(record.digest, record.name, record.version)
        try:
            try:
                return await asyncio.to_thread(self.layout.prepare, path, say)
            finally:
                steps.put_nowait(None)
                await telling
        except (EngineError, OSError) as error:
            detail = error.detail if isinstance(error, EngineError) else str(error.strerror or error)
            await self._tell(Action.BUILD_FAILED, actor, record, f"{record.tag}: {detail}")
            if isinstance(error, OSError):
                raise StoreError(f"build {record.tag} cannot be made ready: {detail}") from None
            raise

    async def tell(self, action: Action, actor: str, build: Build, message: str) -> None:
        """Record what was done with a build."""
        await self._tell(action, actor, await self._find(build.tag), message)

    @contextmanager
    def pinned(self, digest: str) -> Iterator[None]:
        """Meanwhile the build cannot be removed: a revision of it is about to be written."""
        self._pinned[digest] += 1
        try:
            yield
        finally:
            self._pinned[digest] -= 1

    def _spec(self, path: Path) -> GraphSpec:
        from dynamod.builds.archive import Archive

        return Archive.open(path).spec

    def _inspect(self, path: Path, expected: str | None) -> Build:
        from dynamod.builds.archive import Archive
        from dynamod.builds.manifest import build_of

        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if expected is not None and checksum != expected.lower():
            raise Invalid("the archive arrived with another checksum", field="sha256", remedy="send it again")
        opened = Archive.open(path)
        opened.verify()
        return build_of(opened.manifest, checksum, path.stat().st_size)

    async def _take(self, upload: Path, build: Build, force: bool, actor: str) -> tuple[Build, bool]:
        if max(len(build.name), len(build.version)) > MAX_NAME:
            raise Invalid(f"the tag is longer than {MAX_NAME} characters", field="tag", remedy="choose a shorter one")
        called = await self._store.read(lambda c: queries.builds_called(c, build.name, build.version))
        before = called[0] if called else None
        place = self.layout.archive(build.digest, build.name, build.version)
        if before is not None and before.digest == build.digest and await asyncio.to_thread(place.is_file):
            return self._shown(before), False
        if before is not None and before.digest != build.digest and not force:
            raise Conflict(
                f"{build.tag} is there already, with other content", remedy="choose another tag, or force it"
            )
        record = BuildRecord(
            name=build.name, version=build.version, digest=build.digest, build=build, stored_at=self._now()
        )
        if upload != place:
            await asyncio.to_thread(self.layout.keep, upload, build.digest, build.name, build.version)
        transaction = Transaction()
        transaction.put(record)
        transaction.event(self._draft(Action.BUILD_CREATED, actor, record, f"{record.tag} is kept"))
        if before is not None and before.digest != build.digest:
            await self._set_aside(before, transaction)
        await self._store.commit(transaction, self._publish)
        return self._shown(record), True

    async def _set_aside(self, record: BuildRecord, transaction: Transaction) -> None:
        """Its tag names another build from now on; while graphs need it, it stays under a part of its digest."""
        others = await self._store.read(lambda c: queries.builds_of_digest(c, record.digest))
        if len(others) > 1 or not (self._users(record.digest) or self._pinned[record.digest]):
            await asyncio.to_thread(self.layout.drop, record.digest, record.name, record.version)
            return
        from dynamod.builds.manifest import default_version

        version = default_version(record.digest)
        await asyncio.to_thread(self.layout.retag, record.digest, record.name, record.version, version)
        build = replace(record.build, version=version, tag=f"{record.name}:{version}")
        transaction.put(replace(record, version=version, build=build))

    async def _find(self, reference: str) -> BuildRecord:
        name, _, version = reference.partition(":")
        if name == "sha256" and version:
            name, version = version, ""
        elif found := await self._store.read(lambda c: queries.builds_called(c, name, version or None)):
            return found[0]
        if not version and len(name) >= LEAST_DIGEST and _HEX.issuperset(name):
            found = await self._store.read(lambda c: queries.builds_of_digest(c, name))
            if len({record.digest for record in found}) == 1:
                return found[0]
            if found:
                raise NotFound("single build", reference, known=[record.digest[:16] for record in found])
        known = await self._store.read(queries.builds)
        raise NotFound("build", reference, known=[record.tag for record in known])

    def _check_unused(self, record: BuildRecord) -> None:
        users = list(self._users(record.digest))
        if self._pinned[record.digest]:
            users.append("a graph that is being submitted")
        if users:
            raise Conflict(f"build {record.tag} is used by {', '.join(users)}", remedy="remove those graphs first")

    def _shown(self, record: BuildRecord) -> Build:
        return replace(
            record.build,
            stored_at=datetime.fromtimestamp(record.stored_at, UTC),
            path=str(self.layout.archive(record.digest, record.name, record.version)),
            used_by=list(self._users(record.digest)),
        )

    def _draft(self, action: Action, actor: str, record: BuildRecord, message: str) -> Draft:
        data = {"build": record.tag, "digest": record.digest}
        return Draft(at=self._now(), actor=actor, action=action, message=message, data=data)

    async def _tell(self, action: Action, actor: str, record: BuildRecord, message: str) -> None:
        transaction = Transaction()
        transaction.event(self._draft(action, actor, record, message))
        await self._store.commit(transaction, self._publish)
