"""Chat requests with shared prefixes, and the hit rate that the engines report: `python load.py`.

Each prompt begins with one of a few long documents and ends with a question of its own. A first pass warms the
caches, a second one is measured; `--seconds` holds conversations about ever new documents instead.
"""

import argparse
import asyncio
import json
import random
import time

import httpx

TEXT = "the graph asks its router which worker holds the longest part of a prompt before any load is weighed"


def workload(documents: int, questions: int, words: int, seed: int) -> list[list[dict[str, str]]]:
    """`documents * questions` chats, shuffled; `seed` makes them the same every time."""
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(TEXT.split(), k=words)) for _ in range(documents)]
    chats = [
        [
            {"role": "system", "content": f"Answer from this document. {text}"},
            {"role": "user", "content": f"Question {number}: what follows?"},
        ]
        for text in texts
        for number in range(questions)
    ]
    chance.shuffle(chats)
    return chats


def document(number: int, words: int) -> str:
    return " ".join(random.Random(number).choices(TEXT.split(), k=words))


async def conversations(load: "Load", documents: int, questions: int, words: int, seconds: float) -> None:
    """Conversations with pauses, a few side by side, for so long. Each is about one of the `documents` latest
    documents, of which there is a new one every five seconds; each question comes with all that was said before."""
    began = time.monotonic()

    async def talk() -> None:
        while (elapsed := time.monotonic() - began) < seconds:
            about = document(documents + int(elapsed / 5) - random.randint(1, documents), words)
            chat = [{"role": "system", "content": f"Answer from this document. {about}"}]
            for number in range(random.randint(1, 2 * questions)):
                await asyncio.sleep(random.expovariate(1))
                chat.append({"role": "user", "content": f"Question {number}: what follows?"})
                chat.append({"role": "assistant", "content": await load.ask(chat)})

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(talk())


class Load:
    """Sends chats to one frontend and adds up what the engines had cached (tokens)."""

    def __init__(self, url: str, model: str, tokens: int, concurrency: int) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=120)
        self.model = model
        self.tokens = tokens
        self.limit = asyncio.Semaphore(concurrency)
        self.asked = self.cached = self.answered = 0

    async def ask(self, messages: list[dict[str, str]]) -> str:
        """One streamed chat, read to its end."""
        text = ""
        body = {"model": self.model, "messages": messages, "max_tokens": self.tokens, "stream": True}
        body["stream_options"] = {"include_usage": True}
        async with self.limit, self.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                raise SystemExit(f"{answer.status_code}: {(await answer.aread()).decode()}")
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        raise SystemExit(chunk["error"]["message"])
                    self.count(chunk.get("usage"))
                    text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        return text

    def count(self, usage: dict | None) -> None:
        if usage:
            self.answered += 1
            self.asked += usage["prompt_tokens"]
            self.cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)

    async def all(self, chats: list[list[dict[str, str]]]) -> str:
        """Ask everything; the hit rate of this pass as a line."""
        self.asked = self.cached = self.answered = 0
        async with asyncio.TaskGroup() as group:
            for chat in chats:
                group.create_task(self.ask(chat))
        share = self.cached / self.asked
        return f"{self.answered} answers, {self.cached} of {self.asked} prompt tokens cached: {share:.1%}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", help="the first that is served, by default")
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--questions", type=int, default=2, help="per document")
    parser.add_argument("--words", type=int, default=600, help="per document")
    parser.add_argument("--tokens", type=int, default=16, help="per answer")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0, help="keep talking, about four questions a second")
    given = parser.parse_args()
    async with httpx.AsyncClient(base_url=given.url) as http:
        served = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
    if not served and not given.model:
        raise SystemExit(f"{given.url} serves no model yet")
    load = Load(given.url, given.model or served[0], given.tokens, given.concurrency)
    if given.seconds:
        await conversations(load, given.documents, given.questions, given.words, given.seconds)
        print(f"{load.answered} answers, {load.cached / max(1, load.asked):.1%} of prompt tokens cached")
        return
    chats = workload(given.documents, given.questions, given.words, seed=1)
    print("warm-up:", await load.all(chats))
    print("then:   ", await load.all(chats))


if __name__ == "__main__":
    asyncio.run(main())
