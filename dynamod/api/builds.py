"""/v1/builds: keep, show and hand out builds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path as FilePath
from typing import IO, Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from dynamod.api.backend import ActorDep, After, BackendDep, Limit
from dynamod.api.errors import problem_of
from dynamod.api.problems import ApiProblem
from dynamod.api.sse import EventStream, encode_event, encode_problem
from dynamod.api.wire import WireResponse, describes, wire_body
from dynamod.core.errors import DiskFull, EngineError
from dynamod.schema import Build, BuiltImage, ContainerizeRequest, ImageStep, Page, Problem, Pruned, PruneRequest

router = APIRouter(prefix="/v1/builds", tags=["builds"])

ARCHIVE = "application/gzip"
_CHUNK = 1 << 20

Reference = Annotated[
    str, Path(max_length=300, description="A tag (`name:version`, or `name` for its newest), or a digest's beginning.")
]
Checksum = Annotated[
    str | None,
    Query(pattern="^[0-9a-fA-F]{64}$", description="The archive's SHA-256; another one that arrives is refused."),
]


@router.get("", summary="List builds")
@describes(Page[Build])
async def list_builds(backend: BackendDep, after: After = None, limit: Limit = 100) -> Response:
    return WireResponse(await backend.engine.builds(after=after, limit=limit))


@router.post("", summary="Keep a build: the body is its archive", status_code=201)
@describes(Build, status=201, also={200: "It was kept already; nothing changed."}, takes=ARCHIVE, problems=(409, 415))
async def upload_build(
    request: Request,
    backend: BackendDep,
    actor: ActorDep,
    sha256: Checksum = None,
    force: Annotated[bool, Query(description="Let the tag name this build where it names another.")] = False,
) -> Response:
    declared = request.headers.get("content-type", ARCHIVE).partition(";")[0].strip().lower()
    if declared not in (ARCHIVE, "application/octet-stream"):
        raise ApiProblem(415, "unsupported-media-type", f"the body is {declared}", remedy=f"send {ARCHIVE}")
    upload = await asyncio.to_thread(backend.engine.new_upload)
    try:
        await _receive(request.stream(), upload)
        build, created = await backend.engine.add_build(upload, force=force, actor=actor, expected=sha256)
    except ClientDisconnect:
        raise ApiProblem(400, "malformed", "the archive did not arrive whole", remedy="send it again") from None
    finally:
        await asyncio.to_thread(upload.unlink, missing_ok=True)
    return WireResponse(build, 201 if created else 200, headers={"Location": f"/v1/builds/{build.tag}"})


@router.post("/prune", summary="Forget builds that nothing uses")
@describes(Pruned, body=PruneRequest, body_optional=True, problems=(415,))
async def prune_builds(
    backend: BackendDep, actor: ActorDep, wanted: Annotated[PruneRequest, wire_body(PruneRequest, optional=True)]
) -> Response:
    return WireResponse(await backend.engine.prune_builds(wanted, actor=actor))


@router.get("/{build}", summary="Show a build")
@describes(Build, problems=(404,))
async def show_build(backend: BackendDep, build: Reference) -> Response:
    return WireResponse(await backend.engine.build(build))


@router.delete("/{build}", summary="Forget a tag, and the build with its last one", status_code=204)
@describes(status=204, problems=(404, 409))
async def remove_build(backend: BackendDep, actor: ActorDep, build: Reference) -> Response:
    await backend.engine.remove_build(build, actor=actor)
    return Response(status_code=204)


@router.get("/{build}/archive", summary="Download a build's archive")
@describes(gives=ARCHIVE, problems=(404,))
async def download_build(backend: BackendDep, build: Reference) -> Response:
    found = await backend.engine.build(build)
    path = FilePath(found.path)
    if not await asyncio.to_thread(path.is_file):
        raise ApiProblem(404, "not-found", f"the archive of {found.tag} is gone", remedy="upload it again")
    return FileResponse(path, media_type=ARCHIVE, filename=f"{found.name}-{found.version}.tar.gz")


@router.post("/{build}/containerize", summary="Make the container image of a build; what is done is streamed")
@describes(
    body=ContainerizeRequest,
    body_optional=True,
    stream={"step": ImageStep, "image": BuiltImage, "problem": Problem},
    problems=(404, 415),
)
async def containerize_build(
    backend: BackendDep,
    actor: ActorDep,
    build: Reference,
    request: Annotated[ContainerizeRequest, wire_body(ContainerizeRequest, optional=True)],
) -> Response:
    found = await backend.engine.build(build)
    return EventStream(_told(backend.engine.containerize(found, request, actor=actor)), backend.closing)


async def _told(made: AsyncGenerator[ImageStep | BuiltImage, None]) -> AsyncIterator[bytes]:
    try:
        async with contextlib.aclosing(made) as steps:
            async for step in steps:
                yield encode_event(step, event="step" if isinstance(step, ImageStep) else "image")
    except EngineError as error:
        yield encode_problem(problem_of(error))


async def _receive(chunks: AsyncIterator[bytes], target: FilePath) -> None:
    """Write what arrives, a megabyte at a time and never in the event loop."""
    waiting = bytearray()
    try:
        file = await asyncio.to_thread(target.open, "wb")
        try:
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= _CHUNK:
                    await _write(file, waiting)
            await _write(file, waiting)
        finally:
            await asyncio.to_thread(file.close)  # which writes the rest, and may find the disk full as well
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull("the archive cannot be stored") from None
        raise ApiProblem(503, "unavailable", f"the archive cannot be stored: {error.strerror}") from None


async def _write(file: IO[bytes], waiting: bytearray) -> None:
    data = bytes(waiting)
    waiting.clear()
    await asyncio.to_thread(file.write, data)
