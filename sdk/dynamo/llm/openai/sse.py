"""Server-sent chunks, assembled from fragments that are encoded once per stream.

Only the text of a delta changes from chunk to chunk: a chunk is head + JSON string + tail. Encoding a
struct for each token instead costs several times as much.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from dynamo.llm.openai.errors import ErrorAnswer
from dynamo.llm.openai.responses import ChatLogprobs, CompletionLogprobs, Usage

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def error_event(answer: ErrorAnswer) -> bytes:
    """An error in the middle of a stream: OpenAI's clients raise on a chunk that holds `error`."""
    return b"data: " + answer.body() + b"\n\n"


class ChunkEncoder(ABC):
    """The chunks of one stream. `usage_null` adds `"usage":null`, as OpenAI does when usage was asked for."""

    kind = ""

    def __init__(self, *, request_id: str, created: int, model: str, choices: int, usage_null: bool) -> None:
        base = {"id": request_id, "object": self.kind, "created": created, "model": model}
        opening = b"data: " + _encode(base)[:-1]
        self._opening = opening
        self._close = b'],"usage":null}\n\n' if usage_null else b"]}\n\n"
        self._plain_tail = self.text_tail + b',"logprobs":null,"finish_reason":null}' + self._close
        self._heads = [opening + b',"choices":[' + self.choice_head(index) for index in range(choices)]

    text_tail = b""

    @abstractmethod
    def choice_head(self, index: int) -> bytes:
        """The beginning of a choice, up to where the text goes."""

    def text(self, index: int, text: str) -> bytes:
        """A delta of text and nothing else: the hot path."""
        return self._heads[index] + _encode(text) + self._plain_tail

    def last(
        self,
        index: int,
        text: str,
        *,
        logprobs: ChatLogprobs | CompletionLogprobs | None = None,
        finish_reason: str | None = None,
        stop_reason: int | str | None = None,
    ) -> bytes:
        """A delta with logprobs or the finish, or both."""
        tail = self.text_tail + b',"logprobs":' + _encode(logprobs) + b',"finish_reason":' + _encode(finish_reason)
        if stop_reason is not None:
            tail += b',"stop_reason":' + _encode(stop_reason)
        return self._heads[index] + _encode(text) + tail + b"}" + self._close

    def usage(self, usage: Usage) -> bytes:
        """The closing chunk, without choices."""
        return self._opening + b',"choices":[],"usage":' + _encode(usage) + b"}\n\n"


class ChatChunks(ChunkEncoder):
    kind = "chat.completion.chunk"
    text_tail = b"}"

    def choice_head(self, index: int) -> bytes:
        return b'{"index":%d,"delta":{"content":' % index

    def role(self, index: int) -> bytes:
        """The first chunk of a choice."""
        delta = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}' % index
        return self._opening + b',"choices":[' + delta + self._close

    def finish(self, index: int, finish_reason: str, stop_reason: int | str | None = None) -> bytes:
        """The last chunk of a choice, with an empty delta as OpenAI sends it."""
        choice = b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":' % index + _encode(finish_reason)
        if stop_reason is not None:
            choice += b',"stop_reason":' + _encode(stop_reason)
        return self._opening + b',"choices":[' + choice + b"}" + self._close

    def tool_calls(self, index: int, calls: list[dict[str, object]]) -> bytes:
        """A delta of tool calls, each with its `index`."""
        choice = b'{"index":%d,"delta":{"tool_calls":' % index + _encode(calls)
        return self._opening + b',"choices":[' + choice + b'},"logprobs":null,"finish_reason":null}' + self._close


class TextChunks(ChunkEncoder):
    kind = "text_completion"

    def choice_head(self, index: int) -> bytes:
        return b'{"index":%d,"text":' % index
