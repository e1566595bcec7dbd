"""Load on an OpenAI frontend, measured at the socket: streamed chats of a fixed number of clients, or at a fixed rate.

A closed loop asks faster of a side that answers faster, so its waiting times compare two different loads; at a fixed
rate they compare the same one.

The same code measures both sides. It parses as little as it can, so that on a small machine most of the CPU is
left for what is measured: it counts `data:` lines and notes when the first with content arrives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from dataclasses import asdict, dataclass, field

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards mix up another jug of bad ink".split()  # noqa: SIM905


@dataclass
class Figures:
    """Times in milliseconds; `chunks` are `data:` lines with content."""

    requests: int = 0
    errors: int = 0
    chunks: int = 0
    seconds: float = 0.0
    ttft: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        def at(values: list[float], share: float) -> float:
            return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")

        return {
            "requests": self.requests,
            "errors": self.errors,
            "chunks": self.chunks,
            "seconds": self.seconds,
            "requests_per_s": self.requests / self.seconds,
            "chunks_per_s": self.chunks / self.seconds,
            "ttft_p50_ms": statistics.median(self.ttft) if self.ttft else float("nan"),
            "ttft_p99_ms": at(self.ttft, 0.99),
            "total_p50_ms": statistics.median(self.total) if self.total else float("nan"),
        }


def body(model: str, words: int, tokens: int, chance: random.Random) -> bytes:
    """A chat whose prompt is `words` random words, answered with `tokens` tokens."""
    text = " ".join(chance.choices(WORDS, k=words))
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "stream": True,
            "ignore_eos": True,
        }
    ).encode()


class Connection:
    """One keep-alive connection that asks one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, figures: Figures) -> None:
        self._reader = reader
        self._writer = writer
        self._figures = figures

    @classmethod
    async def open(cls, port: int, figures: Figures) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port), figures)

    async def ask(self, content: bytes, started: float) -> bool:
        """One request, timed from `started`; False when it failed, and the connection is of no more use."""
        figures = self._figures
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        first = 0.0
        tail = b""
        while True:
            data = await self._reader.read(65536)
            if not data or (not tail and not data.startswith(b"HTTP/1.1 200")):
                figures.errors += 1
                return False
            figures.chunks += data.count(b'"content":"')
            if not first and b'"content":"' in data:
                first = time.perf_counter()
                figures.ttft.append(1000 * (first - started))
            tail = (tail + data)[-64:]
            if b"[DONE]" in tail and tail.endswith(b"0\r\n\r\n"):
                break
        figures.requests += 1
        figures.total.append(1000 * (time.perf_counter() - started))
        return True

    def close(self) -> None:
        self._writer.close()


async def one_after_another(port: int, bodies: list[bytes], figures: Figures) -> None:
    """A client that asks its next request when the last one is answered."""
    connection = await Connection.open(port, figures)
    try:
        while bodies and await connection.ask(bodies.pop(), time.perf_counter()):
            pass
    finally:
        connection.close()


async def at_a_rate(port: int, bodies: list[bytes], figures: Figures, rate: float, chance: random.Random) -> None:
    """Requests at random times, `rate` of them a second on average, however long the answers take."""
    idle: list[Connection] = []

    async def ask(content: bytes, due: float) -> None:
        connection = idle.pop() if idle else await Connection.open(port, figures)
        if await connection.ask(content, due):
            idle.append(connection)
        else:
            connection.close()

    due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for content in bodies:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(content, due))
    for connection in idle:
        connection.close()


async def run(
    port: int, model: str, *, clients: int, requests: int, words: int, tokens: int, seed: int, rate: float = 0.0
) -> Figures:
    """`requests` chats from `clients` connections; with a rate, so many a second whatever the connections."""
    chance = random.Random(seed)
    bodies = [body(model, words, tokens, chance) for _ in range(requests)]
    figures = Figures()
    started = time.perf_counter()
    if rate:
        await at_a_rate(port, bodies, figures, rate, chance)
    else:
        await asyncio.gather(*(one_after_another(port, bodies, figures) for _ in range(clients)))
    figures.seconds = time.perf_counter() - started
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second at random times; 0: closed loop")
    parser.add_argument("--raw", action="store_true", help="every figure, not the summary")
    given = parser.parse_args()
    figures = asyncio.run(
        run(
            given.port,
            given.model,
            clients=given.clients,
            requests=given.requests,
            words=given.words,
            tokens=given.tokens,
            seed=given.seed,
            rate=given.rate,
        )
    )
    print(json.dumps(asdict(figures) if given.raw else figures.summary()))


if __name__ == "__main__":
    main()
