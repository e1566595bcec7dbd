"""One choice of one answer: engine deltas in, text out, until it stops."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dynamo.llm.engines.base import EngineOutput, EngineRequest, TokenLogprob
from dynamo.llm.errors import GenerationFailed
from dynamo.llm.openai.responses import ChatLogprobs, CompletionLogprobs, ContentLogprob, TopLogprob
from dynamo.llm.stops import StopStrings
from dynamo.llm.tokenizer import Tokenizer


class Delta(msgspec.Struct):
    """What one batch of engine output adds. `finish_reason` ends the choice."""

    text: str
    logprobs: list[TokenLogprob] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How ids become text, where the request has a say. `end_ids` stop a generation and are not shown."""

    stops: tuple[str, ...] = ()
    include_stop: bool = False
    skip_special_tokens: bool = True
    end_ids: frozenset[int] = frozenset()


class Choice:
    """Follows one engine request. Counts are in tokens."""

    __slots__ = ("_detokenizer", "_options", "_stops", "cached_tokens", "completion_tokens", "prompt_tokens")

    def __init__(self, tokenizer: Tokenizer, request: EngineRequest, options: TextOptions) -> None:
        self._options = options
        self._detokenizer = tokenizer.detokenizer(request.token_ids, skip_special_tokens=options.skip_special_tokens)
        self._stops = StopStrings(options.stops, include=options.include_stop) if options.stops else None
        self.prompt_tokens = len(request.token_ids)
        self.completion_tokens = 0
        self.cached_tokens: int | None = None

    def feed(self, output: EngineOutput) -> Delta:
        """The delta of one engine output.

        A matched stop string sets `finish_reason` although the engine would go on: close its stream.

        Raises:
            GenerationFailed: the engine says that it failed.
        """
        if output.cached_tokens is not None:
            self.cached_tokens = output.cached_tokens
        ids: Sequence[int] = output.token_ids
        finish = output.finish_reason
        if finish is None:
            self.completion_tokens += len(ids)
            text = self._detokenizer.feed(ids)
            if self._stops is not None:
                text = self._stops.feed(text)
                if self._stops.matched is not None:
                    return Delta(text, output.logprobs, "stop", self._stops.matched)
            return Delta(text, output.logprobs)
        if finish not in ("stop", "length"):
            raise GenerationFailed(output.error or f"The engine ended the request: {finish}.", begun=True)
        self.completion_tokens += len(ids)
        if finish == "stop" and ids and ids[-1] in self._options.end_ids and not self._options.include_stop:
            ids = ids[:-1]
        text = self._detokenizer.feed(ids) + self._detokenizer.finish()
        stop_reason = output.stop_reason
        if self._stops is not None:
            text = self._stops.feed(text)
            if self._stops.matched is not None:
                finish, stop_reason = "stop", self._stops.matched
            else:
                text += self._stops.finish()
        return Delta(text, output.logprobs, finish, stop_reason)


def chat_logprobs(tokenizer: Tokenizer, entries: Sequence[TokenLogprob]) -> ChatLogprobs:
    content = []
    for entry in entries:
        text = tokenizer.token_text(entry.token_id)
        top = []
        for token_id, logprob in entry.top:
            other = tokenizer.token_text(token_id)
            top.append(TopLogprob(token=other, logprob=logprob, bytes=list(other.encode())))
        content.append(ContentLogprob(token=text, logprob=entry.logprob, bytes=list(text.encode()), top_logprobs=top))
    return ChatLogprobs(content=content)


def text_logprobs(tokenizer: Tokenizer, entries: Sequence[TokenLogprob], offset: int = 0) -> CompletionLogprobs:
    """`offset`: characters of the completion before these tokens."""
    result = CompletionLogprobs()
    for entry in entries:
        text = tokenizer.token_text(entry.token_id)
        result.tokens.append(text)
        result.token_logprobs.append(entry.logprob)
        result.top_logprobs.append({tokenizer.token_text(i): lp for i, lp in entry.top} if entry.top else None)
        result.text_offset.append(offset)
        offset += len(text)
    return result
