"""Builds as the engine keeps and runs them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from dynamod.core.errors import Invalid
from dynamod.drivers.secrets import references
from dynamod.engine.base import EngineBase
from dynamod.engine.submission import Submission
from dynamod.schema.builds import Build, Pruned, PruneRequest
from dynamod.schema.graphs import BuildSettings, GraphSubmit, Page


class Builds(EngineBase):
    async def builds(self, *, after: str | None = None, limit: int = 100) -> Page[Build]:
        """All builds by name, the newest of each name first. `after` is the cursor of the page before."""
        found = await self.core.builds.all()
        start = next((n + 1 for n, build in enumerate(found) if build.tag == after), 0)
        chosen = found[start : start + limit]
        more = start + limit < len(found)
        return Page(items=chosen, next=chosen[-1].tag if more and chosen else None)

    async def build(self, reference: str) -> Build:
        """The build that a tag, or the beginning of a digest, names. Raises NotFound."""
        return await self.core.builds.find(reference)

    def new_upload(self) -> Path:
        """A private file of its own for an archive that is about to arrive. It touches the disk."""
        descriptor, name = tempfile.mkstemp(dir=self.core.builds.layout.incoming, suffix=".tar.gz")
        open(descriptor, "wb").close()  # noqa: PTH123 - only the descriptor is closed
        return Path(name)

    async def add_build(
        self, upload: Path, *, force: bool, actor: str, expected: str | None = None
    ) -> tuple[Build, bool]:
        """Keep an archive; `upload` is taken over. See `BuildStore.add`."""
        return await self._open_for_change().builds.add(upload, force=force, actor=actor, expected=expected)

    async def remove_build(self, reference: str, *, actor: str) -> None:
        """Forget a tag, and the build with its last one. Raises NotFound, and Conflict while a graph needs it."""
        await self._open_for_change().builds.remove(reference, actor=actor)

    async def prune_builds(self, wanted: PruneRequest, *, actor: str) -> Pruned:
        """Forget builds that no revision names; see `PruneRequest`."""
        return await self._open_for_change().builds.prune(wanted, actor=actor)

    @asynccontextmanager
    async def _resolved(self, request: GraphSubmit, actor: str) -> AsyncIterator[Submission]:
        """The submission with a spec that can be run here; its build cannot be removed meanwhile.

        Raises:
            Invalid, NotFound, BuildError: neither a spec nor a usable build.
        """
        if request.env_secrets or request.secret_envs:
            request = await asyncio.to_thread(self._with_secrets, request)
        if request.build is None:
            if request.spec is None:
                raise Invalid("what is to run?", field="spec", remedy="give a spec, or the tag of a build")
            if request.settings is not None:
                raise Invalid("settings go with a build; a spec has its own", field="settings")
            yield Submission.of(request, request.spec, None)
            return
        if request.spec is not None:
            raise Invalid("a build has its spec; give one of the two", field="build")
        builds = self.core.builds
        build = await builds.find(request.build)
        with builds.pinned(build.digest):
            if request.driver != "process" and request.settings in (None, BuildSettings()):
                yield Submission.of(request, await builds.spec(build.tag), build.digest)
                return  # an image has an interpreter and packages of its own
            prepared = await builds.prepare(build.tag, actor=actor)
            spec = prepared.archive.spec
            if request.settings is not None and request.settings != BuildSettings():
                from dynamod.builds.configure import configured

                spec = await asyncio.to_thread(configured, prepared, request.settings)
            if request.driver == "process":
                spec = replace(spec, interpreter=str(prepared.interpreter), working_dir=str(prepared.sources))
            else:
                spec = replace(spec, interpreter="", working_dir="")
            yield Submission.of(request, spec, build.digest)

    def _with_secrets(self, request: GraphSubmit) -> GraphSubmit:
        """The request with references to its secrets among its variables; what it gives itself goes before."""
        if request.driver == "kubernetes":
            raise Invalid(
                "a cluster has Secrets of its own", field="env_secrets", remedy="name them in kubernetes.env_secrets"
            )
        found = references(self.core.where.secrets_dir, request.env_secrets, request.secret_envs)
        return replace(request, envs={**found, **request.envs})
