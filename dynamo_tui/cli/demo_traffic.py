"""A trickle of real chats as an assistant with documents has them: conversations grow, and subjects change.

Each conversation is about one document, which its first message holds, and asks a few questions in a row. A handful of
documents is in fashion at a time, the newest most of all; some of them are replaced every few seconds, and now and
then somebody comes back to an older one, which may have left the caches by then.
"""

from __future__ import annotations

import random
import threading
import time
from functools import lru_cache
from types import TracebackType
from typing import Self

from dynamo_tui.cli.chat import ChatError, ChatOptions, Frontend, Message
from dynamo_tui.cli.exits import CliError, WaitTimeout

SENDERS = 4
DOCUMENT_WORDS = 400
MOST_QUESTIONS = 4
"""In one conversation."""
MAX_TOKENS = 24
IN_FASHION = 8
FASHION_S = 20.0
"""Seconds after which `REPLACED` of the documents in fashion give way to new ones."""
REPLACED = 4
NEWEST_FIRST = 2.5
"""How far behind the newest document a conversation's is, on average."""
OLDER = 0.25
"""Share of conversations about any of the last `REMEMBERED` documents instead."""
REMEMBERED = 40

_TEXT = (
    "the graph keeps every block that a worker has seen and asks the router for the one whose cache holds most of "
    "a prompt before load and queue decide between equals while events from each engine tell what was stored and "
    "what was evicted so that no prefill is done twice when it can be done once"
)
_QUESTIONS = (
    "Summarise this in one sentence.",
    "Which part matters most, and why?",
    "What would you check first?",
    "Name three risks.",
    "Explain it to a new colleague.",
    "What is missing here?",
)


@lru_cache(maxsize=2 * REMEMBERED)
def document(number: int) -> str:
    return " ".join(random.Random(number).choices(_TEXT.split(), k=DOCUMENT_WORDS))


def topic(source: random.Random, elapsed: float) -> int:
    """The number of the document that a conversation begun after `elapsed` seconds is about."""
    known = IN_FASHION + REPLACED * int(elapsed / FASHION_S)
    if source.random() < OLDER:
        return source.randrange(max(known - REMEMBERED, 0), known)
    return known - 1 - min(int(source.expovariate(1 / NEWEST_FIRST)), IN_FASHION - 1)


class Traffic:
    """Sends requests from a few threads while its `with` lasts, and counts what became of them.

    `rate`: requests a second, on average.
    """

    def __init__(self, url: str, model: str, *, rate: float, seed: int = 7) -> None:
        self.model = model
        self.answered = 0
        self.failed = 0
        self.last_error = ""
        self._url = url
        self._pace = rate / SENDERS
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(seed + n),), name=f"demo-traffic-{n}", daemon=True)
            for n in range(SENDERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def wait_for(self, answered: int, timeout: float) -> None:
        """Wait until so many requests have been answered.

        Raises:
            CliError: requests fail instead.
            WaitTimeout: not within `timeout` seconds.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: self.answered >= answered or self.failed > answered, timeout)
        if self.failed > answered:
            raise CliError(f"the demo's requests fail: {self.last_error}")
        if not done:
            raise WaitTimeout(f"only {self.answered} of {answered} requests were answered in {timeout:g} s")

    def _send(self, source: random.Random) -> None:
        frontend = Frontend(self._url, timeout=30.0)
        while not self._stop.is_set():
            about = document(topic(source, time.monotonic() - self._began))
            messages = [Message("system", f"You answer questions about this document. {about}")]
            for question in source.sample(_QUESTIONS, source.randint(1, MOST_QUESTIONS)):
                if self._stop.wait(source.expovariate(self._pace)):
                    return
                messages.append(Message("user", question))
                try:
                    answer = "".join(frontend.stream(self.model, messages, ChatOptions(max_tokens=MAX_TOKENS)))
                except ChatError as error:
                    self._count(error)
                    break
                self._count(None)
                messages.append(Message("assistant", answer))

    def _count(self, error: ChatError | None) -> None:
        with self._changed:
            if error is None:
                self.answered += 1
            else:
                self.failed += 1
                self.last_error = str(error)
            self._changed.notify_all()
