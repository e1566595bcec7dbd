"""A trickle of real chat requests whose prompts share long beginnings, as those of an assistant with documents do."""

from __future__ import annotations

import random
import threading
from types import TracebackType
from typing import Self

from dynamo_tui.cli.chat import ChatError, ChatOptions, Frontend, Message
from dynamo_tui.cli.exits import CliError, WaitTimeout

SENDERS = 4
DOCUMENTS = 8
DOCUMENT_WORDS = 400
MAX_TOKENS = 24

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
        source = random.Random(seed)
        self._documents = [" ".join(source.choices(_TEXT.split(), k=DOCUMENT_WORDS)) for _ in range(DOCUMENTS)]
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
        while not self._stop.wait(source.expovariate(self._pace)):
            document = source.choice(self._documents)
            messages = [
                Message("system", f"You answer questions about this document. {document}"),
                Message("user", source.choice(_QUESTIONS)),
            ]
            try:
                for _ in frontend.stream(self.model, messages, ChatOptions(max_tokens=MAX_TOKENS)):
                    if self._stop.is_set():
                        return
            except ChatError as error:
                self._count(error)
            else:
                self._count(None)

    def _count(self, error: ChatError | None) -> None:
        with self._changed:
            if error is None:
                self.answered += 1
            else:
                self.failed += 1
                self.last_error = str(error)
            self._changed.notify_all()
