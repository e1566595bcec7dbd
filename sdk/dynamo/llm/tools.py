"""Tool calls in the text of a model: the Hermes form, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

Models of the Hermes and Qwen families write it, and most chat templates with tools ask for it.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class _Written(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


class Call(msgspec.Struct):
    """One call. `arguments` is a JSON text."""

    index: int
    id: str
    name: str
    arguments: str

    def whole(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def streamed(self) -> dict[str, Any]:
        return {"index": self.index, **self.whole()}


class ToolCallParser:
    """Separates tool calls from the text around them, wherever the chunks break.

    What looks like a call but cannot be read stays text: the client sees what the model wrote.
    With `forced`, the whole text is the arguments of that one tool (guided decoding made it so).
    """

    def __init__(self, forced: str | None = None) -> None:
        self._forced = forced
        self._held = ""
        self.count = 0

    def feed(self, text: str, *, final: bool) -> tuple[str, list[Call]]:
        """Text to show, and the calls that are complete."""
        self._held += text
        if self._forced is not None:
            if not final:
                return "", []
            held, self._held = self._held, ""
            return "", [self._call(self._forced, held)]
        shown: list[str] = []
        calls: list[Call] = []
        while (start := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, start)
            if end < 0:
                break
            inner = self._held[start + len(OPEN) : end]
            shown.append(self._held[:start])
            self._held = self._held[end + len(CLOSE) :]
            try:
                written = msgspec.json.decode(inner, type=_Written)
            except msgspec.DecodeError:
                shown.append(f"{OPEN}{inner}{CLOSE}")
            else:
                calls.append(self._call(written.name, msgspec.json.encode(written.arguments).decode()))
        keep = 0 if final else self._open_at_end()
        cut = len(self._held) - keep
        shown.append(self._held[:cut])
        self._held = self._held[cut:]
        return "".join(shown), calls

    def _open_at_end(self) -> int:
        """How much of the held text may belong to a call that is not complete."""
        start = self._held.find(OPEN)
        if start >= 0:
            return len(self._held) - start
        for size in range(min(len(OPEN) - 1, len(self._held)), 0, -1):
            if OPEN.startswith(self._held[-size:]):
                return size
        return 0

    def _call(self, name: str, arguments: str) -> Call:
        call = Call(index=self.count, id=f"call_{uuid.uuid4().hex[:24]}", name=name, arguments=arguments)
        self.count += 1
        return call
