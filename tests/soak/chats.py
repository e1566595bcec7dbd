"""Callers of the chat graph: those that behave, whose every request must end with an answer or an error; and others."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import httpx

from tests.soak.world import World

CALLERS = 8
DEADLINE_S = 60.0
"""No fault here lasts a quarter of this: a request that takes longer is lost."""
WORDS = "the router asks which worker holds the longest part of a prompt before it weighs any load at all".split()  # noqa: SIM905


class NotTold(Exception):
    """A request ended in a way that its caller cannot tell from success, or that is wrong."""


def chat(chance: random.Random, tokens: int, *, stream: bool) -> dict[str, object]:
    text = " ".join(WORDS[: chance.randrange(4, len(WORDS))] * chance.randrange(1, 8))
    body: dict[str, object] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": stream,
    }
    return body | ({"stream_options": {"include_usage": True}} if stream else {})


async def ask(client: httpx.AsyncClient, chance: random.Random) -> str:
    """One chat; how it ended: `ok`, or what its caller was told.

    Raises:
        NotTold: it ended wrongly, and nothing said so.
        httpx.HTTPError: the connection broke.
    """
    tokens = chance.randrange(8, 64)
    if chance.random() < 0.3:
        answer = await client.post("/v1/chat/completions", json=chat(chance, tokens, stream=False))
        if answer.status_code != 200:
            return _told(answer.status_code, answer.content)
        return _whole(answer.json().get("usage"), tokens)
    body = chat(chance, tokens, stream=True)
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            return _told(answer.status_code, await answer.aread())
        usage = None
        async for line in answer.aiter_lines():
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                return _whole(usage, tokens)
            chunk = json.loads(line[6:])
            if "error" in chunk:
                return f"in the stream: {chunk['error'].get('code') or chunk['error']['message'][:60]}"
            usage = chunk.get("usage") or usage
    raise NotTold("a stream ended with neither [DONE] nor an error")


def _told(status: int, content: bytes) -> str:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        raise NotTold(f"status {status} without an error's body: {content[:80]!r}") from None
    if status < 500 and status != 429:
        raise NotTold(f"a good request was refused with {status}: {error['message']}")
    return f"{status} {error.get('code') or error['message'][:60]}"


def _whole(usage: dict[str, int] | None, tokens: int) -> str:
    if usage is None or usage["completion_tokens"] != tokens:
        raise NotTold(f"{tokens} tokens were asked for, and the answer says {usage}")
    return "ok"


async def call(world: World, seed: int) -> None:
    """One caller, who asks without end."""
    chance = random.Random(seed)
    report = world.report
    async with httpx.AsyncClient(base_url=world.url, timeout=DEADLINE_S) as client:
        while True:
            await world.calm.wait()
            began = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    how = await ask(client, chance)
            except NotTold as error:
                report.found(f"a chat was lost: {error}")
                how = "lost"
            except TimeoutError:
                report.found(f"a chat had no end after {DEADLINE_S:.0f} s")
                how = "lost"
            except httpx.HTTPError as error:
                how = "connection broken"
                if not any(began - 15 < hurt for hurt in world.frontend_hurt):
                    report.found(f"a connection broke, and nobody had hurt the frontend: {error!r}")
            if how == "ok":
                report.chat_seconds.append(time.monotonic() - began)
            elif how not in ("lost", "connection broken"):
                report.told[how] += 1
                how = "error told"
            report.chats[how] += 1
            await asyncio.sleep(chance.uniform(0.02, 0.2))


def _request(chance: random.Random, tokens: int) -> bytes:
    content = json.dumps(chat(chance, tokens, stream=True)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _half_a_request(world: World, chance: random.Random, writer: asyncio.StreamWriter) -> None:
    data = _request(chance, 16)
    writer.write(data[: chance.randrange(1, len(data))])
    await writer.drain()
    await asyncio.sleep(chance.uniform(0, 2))


async def _leave(world: World, chance: random.Random, writer: asyncio.StreamWriter) -> None:
    writer.write(_request(chance, 2000))
    await writer.drain()
    await asyncio.sleep(chance.uniform(0, 1))


async def _garbage(world: World, chance: random.Random, writer: asyncio.StreamWriter) -> None:
    writer.write(chance.randbytes(chance.randrange(1, 4000)))
    await writer.drain()
    await asyncio.sleep(0.2)


async def _read_nothing(world: World, chance: random.Random, writer: asyncio.StreamWriter) -> None:
    """Ask for much and read none of it; several requests in a row, as pipelining clients do."""
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(3):
        writer.write(_request(chance, 3000))
    await writer.drain()
    await asyncio.sleep(chance.uniform(1, 5))


MANNERS: dict[str, Callable[[World, random.Random, asyncio.StreamWriter], object]] = {
    "half requests": _half_a_request,
    "left in the middle": _leave,
    "garbage": _garbage,
    "read nothing": _read_nothing,
}


async def misbehave(world: World, seed: int) -> None:
    """One bad client, at the frontend and at the daemon's socket."""
    chance = random.Random(seed)
    while True:
        await world.calm.wait()
        name = chance.choice(list(MANNERS))
        with suppress(OSError):
            if chance.random() < 0.3:
                _, writer = await asyncio.open_unix_connection(str(world.where.api_socket))
            else:
                _, writer = await asyncio.open_connection("127.0.0.1", world.port)
            try:
                world.report.misbehaved[name] += 1
                await MANNERS[name](world, chance, writer)  # type: ignore[misc]
            finally:
                writer.transport.abort()
        await asyncio.sleep(chance.uniform(0.1, 0.6))
