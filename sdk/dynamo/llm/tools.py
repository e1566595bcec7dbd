"""Tool calls in what a model writes.

Left to itself it writes text with calls in the Hermes form, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as
models of the Hermes and Qwen families do and most chat templates with tools ask for. Where a call is a must, guided
decoding (`dynamo.llm.guided`) makes it write the arguments of the one tool, or an array of calls.
"""

from __future__ import annotations

import uuid
from typing import Any, Protocol

import msgspec

from dynamo.sdk.spec import UNREADABLE

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class _Written(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


class Call(msgspec.Struct):
    """One call, or with an empty `name` more of the arguments of a call that has begun. `arguments` is a JSON text."""

    index: int
    id: str
    name: str
    arguments: str

    def whole(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def streamed(self) -> dict[str, Any]:
        if not self.name:
            return {"index": self.index, "function": {"arguments": self.arguments}}
        return {"index": self.index, **self.whole()}


class ToolCallParser(Protocol):
    """Separates tool calls from the text around them, wherever the chunks break. `count`: calls so far."""

    count: int

    def feed(self, text: str, *, final: bool) -> tuple[str, list[Call]]:
        """Text to show, and the calls that are complete."""
        ...


class HermesCalls:
    """Calls in the Hermes form. What looks like one but cannot be read stays text: the client sees what was written."""

    def __init__(self) -> None:
        self._held = ""
        self.count = 0

    def feed(self, text: str, *, final: bool) -> tuple[str, list[Call]]:
        self._held += text
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
            except UNREADABLE:
                shown.append(f"{OPEN}{inner}{CLOSE}")
            else:
                calls.append(_call(self.count, written))
                self.count += 1
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


class ForcedCall:
    """The whole text is the arguments of one tool: it is handed on as it comes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.count = 0

    def feed(self, text: str, *, final: bool) -> tuple[str, list[Call]]:
        if self.count:
            return "", [Call(0, "", "", text)] if text else []
        if not text and not final:
            return "", []
        self.count = 1
        return "", [Call(0, _new_id(), self._name, text)]


class CallList:
    """The whole text is a JSON array of calls, readable once it is complete. One that was cut off stays text."""

    def __init__(self) -> None:
        self._held = ""
        self.count = 0

    def feed(self, text: str, *, final: bool) -> tuple[str, list[Call]]:
        self._held += text
        if not final:
            return "", []
        try:
            written = msgspec.json.decode(self._held, type=list[_Written])
        except UNREADABLE:
            return self._held, []
        self.count = len(written)
        return "", [_call(index, item) for index, item in enumerate(written)]


def _call(index: int, written: _Written) -> Call:
    return Call(index, _new_id(), written.name, msgspec.json.encode(written.arguments).decode())


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
