"""A model's files from a worker to the frontends that do not see its directory.

A worker serves them at an endpoint of its component that is named by their digest: whoever answers there has the
same content, so a frontend that loses one worker in the middle of a file goes on with another where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dynamo.llm.engines.base import ModelCard, ModelFile
from dynamo.llm.errors import ModelError, NoWorkers
from dynamo.llm.model_files import NAMES, checked, digest_of, finish, holds, places, unfinished, used
from dynamo.runtime import errors as runtime_errors

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.client import Client
    from dynamo.runtime.component import Component

CHUNK = 256 << 10
"""Bytes of one item: below the frame limit of every plane."""

DEADLINE_S = 120.0
"""For all files of a model."""

MAX_ATTEMPTS = 8
"""Workers tried for one file."""

_ELSEWHERE = (runtime_errors.InstanceLost, runtime_errors.InstanceUnavailable, runtime_errors.Overloaded)


class FileCall(msgspec.Struct, forbid_unknown_fields=True):
    """Asks for the content of a file from a byte on; answered by a stream of bytes."""

    name: str
    offset: int = 0


def endpoint_name(files: Sequence[ModelFile]) -> str:
    return f"model_files/{digest_of(files)[:16]}"


async def serve_files(component: Component, card: ModelCard) -> None:
    """Serve the card's files until the process leaves. Raises `DiscoveryError`."""
    directory, names = Path(card.model_path), frozenset(file.name for file in card.files)

    async def give(call: FileCall) -> AsyncIterator[bytes]:
        if call.name not in names or call.name not in NAMES or call.offset < 0:
            raise ModelError(f"there is no file {call.name!r} for frontends here")
        with (directory / call.name).open("rb") as content:
            content.seek(call.offset)
            while chunk := await asyncio.to_thread(content.read, CHUNK):
                yield chunk

    endpoint = component.endpoint(endpoint_name(card.files))
    with contextlib.suppress(ValueError):  # this process serves the same content already, for another card
        await endpoint.serve_endpoint(give, request_type=FileCall)


async def directory_of(runtime: DistributedRuntime, card: ModelCard) -> Path:
    """A directory, as this process sees it, with the files that a card names; fetched where there is none.

    Raises:
        ModelError: the files cannot be used, or not be stored.
        NoWorkers: they are not here, and no worker gives them.
    """
    if not card.files:
        return Path(card.model_path)  # of a worker that tells no files: the path is all there is
    checked(card.files)
    found = await asyncio.to_thread(_find, card)
    return found if found is not None else await _fetch(runtime, card)


def _find(card: ModelCard) -> Path | None:
    for place in places(card.model_path, card.files):
        if holds(place, card.files):
            used(place)
            return place
    return None


async def _fetch(runtime: DistributedRuntime, card: ModelCard) -> Path:
    component = runtime.namespace(card.namespace).component(card.component)
    client = component.endpoint(endpoint_name(card.files)).client()
    try:
        with unfinished() as directory:
            async with asyncio.timeout(DEADLINE_S):
                for file in card.files:
                    await _fetch_file(client, file, directory / file.name)
            return await asyncio.to_thread(finish, directory, card.files)
    except TimeoutError:
        raise _unreachable(card, f"they took longer than {DEADLINE_S:.0f} s") from None
    except runtime_errors.DynamoRuntimeError as error:
        raise _unreachable(card, str(error)) from None
    finally:
        await client.close()


async def _fetch_file(client: Client, file: ModelFile, target: Path) -> None:
    """Raises `RequestError` once too many workers were lost, `ModelError` for more than the file should have."""
    offset, attempts = 0, 0
    with target.open("wb") as out:
        while True:
            try:
                async with await client.round_robin(FileCall(file.name, offset)) as chunks:
                    async for chunk in chunks:
                        offset += len(chunk)
                        if offset > file.size:
                            raise ModelError(f"a worker gives more of {file.name} than its card says")
                        await asyncio.to_thread(out.write, chunk)
                return
            except _ELSEWHERE:
                attempts += 1
                if attempts >= MAX_ATTEMPTS:
                    raise


def _unreachable(card: ModelCard, why: str) -> NoWorkers:
    return NoWorkers(f"The files of the model '{card.name}' are not here, and no worker gives them: {why}")
