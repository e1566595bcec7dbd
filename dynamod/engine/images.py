"""Images of the builds that a daemon keeps, made by a program of its own that ends with whoever waits for it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from dynamod.core.errors import EngineError, reported
from dynamod.engine.builds import Builds
from dynamod.schema.builds import Build, BuiltImage, ContainerizeOptions, ContainerizeRequest, ImageStep
from dynamod.schema.states import Action

PROGRAM = "dynamod.builds.containerize"
LONGEST_LINE = 1 << 20
END_GRACE_S = 10.0


class Images(Builds):
    def __init__(self) -> None:
        super().__init__()
        self._imaging: dict[str, asyncio.Lock] = {}

    async def containerize(
        self, build: Build, request: ContainerizeRequest, *, actor: str
    ) -> AsyncGenerator[ImageStep | BuiltImage, None]:
        """Make the image of a build: its steps, then the image. The same request again finds it made already.

        Closing the generator ends the work. Two who want the same name are served one after the other.

        Raises:
            EngineError: as `dynamod.builds.containerize` says it.
        """
        name = request.image or build.tag
        builds = self._open_for_change().builds
        with builds.pinned(build.digest), tempfile.TemporaryDirectory() as work:
            options = await asyncio.to_thread(_written, Path(work), build, request, str(builds.home))
            async with self._imaging.setdefault(name, asyncio.Lock()):
                async for made in _run(options):
                    if isinstance(made, BuiltImage):  # whoever gets it may leave at once
                        await builds.tell(Action.BUILD_FINISHED, actor, build, f"{build.tag}: image {made.image}")
                    yield made


def _written(work: Path, build: Build, request: ContainerizeRequest, home: str) -> Path:
    """The file of options for the program."""
    ca = None
    if request.ca is not None:
        ca = work / "ca.pem"
        ca.write_text(request.ca)
    chosen = msgspec.structs.asdict(request) | {
        "image": request.image or build.tag,
        "ca": None if ca is None else str(ca),
    }
    options = ContainerizeOptions(build=build.path, builds_dir=home, **chosen)
    file = work / "options.json"
    file.write_bytes(msgspec.json.encode(options))
    return file


async def _run(options: Path) -> AsyncGenerator[ImageStep | BuiltImage, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PROGRAM,
        "--options",
        str(options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            message = msgspec.json.decode(line)
            if "step" in message:
                yield ImageStep(step=message["step"])
            elif "error" in message:
                raise reported(message)
            else:
                yield msgspec.convert(message, BuiltImage)
        if await process.wait() != 0:
            raise EngineError(f"{PROGRAM} ended with exit code {process.returncode}")
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """The Docker engine gives up a build whose client leaves."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
