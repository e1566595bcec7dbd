"""Answers to chat completions and completions, streamed and whole."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec

from dynamo.llm.engines.base import EngineOutput, TokenLogprob
from dynamo.llm.generation import Choice, Delta, TextOptions, chat_logprobs, text_logprobs
from dynamo.llm.http import Answer
from dynamo.llm.openai import responses as out
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest
from dynamo.llm.openai.sse import DONE, ChatChunks, ChunkEncoder, TextChunks
from dynamo.llm.pipeline import Planned
from dynamo.llm.serving_metrics import ModelMetrics
from dynamo.llm.tokenizer import Tokenizer
from dynamo.llm.tools import ToolCallParser

Run = Callable[[Planned], AsyncIterator[EngineOutput]]
R = TypeVar("R", bound=ChatRequest | CompletionRequest)


class Generation(ABC, Generic[R]):
    """One request in flight: its choices, and how they become an answer."""

    def __init__(
        self,
        *,
        request: R,
        planned: list[Planned],
        run: Run,
        abandon: Callable[[Planned], None],
        tokenizer: Tokenizer,
        metrics: ModelMetrics,
        request_id: str,
        end_ids: frozenset[int],
        arrived: float,
    ) -> None:
        self.request = request
        self.planned = planned
        self.tokenizer = tokenizer
        self.request_id = request_id
        self.created = int(time.time())
        self._run = run
        self._abandon = abandon
        self._begun: set[int] = set()
        self._metrics = metrics
        self._arrived = arrived
        options = TextOptions(
            stops=tuple(request.stops()),
            include_stop=request.include_stop_str_in_output,
            skip_special_tokens=request.skip_special_tokens,
            end_ids=end_ids | frozenset(request.stop_token_ids or ()),
        )
        self.choices = [Choice(tokenizer, item.request, options) for item in planned]

    async def deltas(self, index: int) -> AsyncIterator[Delta]:
        """The deltas of one choice, the last one with its finish reason."""
        self._begun.add(index)
        choice = self.choices[index]
        feed = choice.feed
        before = 0.0
        observe = self._metrics.itl.observe
        async with aclosing(self._run(self.planned[index])) as outputs:  # type: ignore[type-var]
            async for output in outputs:
                now = time.perf_counter()
                if not before:
                    self._metrics.ttft.observe(now - self._arrived)
                elif tokens := len(output.token_ids):
                    observe((now - before) / tokens, tokens)
                before = now
                delta = feed(output)
                yield delta
                if delta.finish_reason is not None:
                    return

    def usage(self) -> out.Usage:
        """Prompts count once, however many choices share them."""
        per_prompt = self.choices[:: self.request.choices()]
        prompt = sum(choice.prompt_tokens for choice in per_prompt)
        completion = sum(choice.completion_tokens for choice in self.choices)
        cached = [choice.cached_tokens for choice in per_prompt if choice.cached_tokens is not None]
        details = out.PromptDetails(cached_tokens=sum(cached)) if cached else None
        return out.Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=details,
        )

    def close(self) -> None:
        """The request has left: account its tokens, and give up choices that never began since another one failed."""
        for index, planned in enumerate(self.planned):
            if index not in self._begun:
                self._abandon(planned)
        usage = self.usage()
        self._metrics.prompt_tokens.inc(usage.prompt_tokens)
        self._metrics.output_tokens.inc(usage.completion_tokens)

    async def stream(self, answer: Answer) -> None:
        """Send all choices as they come, then usage where it was asked for, then the end mark."""
        chunks = self._encoder()
        if len(self.choices) == 1:
            await self._stream_choice(0, chunks, answer)
        else:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self.choices)):
                    group.create_task(self._stream_choice(index, chunks, answer))
        closing = chunks.usage(self.usage()) + DONE if self.request.include_usage() else DONE
        await answer.end(closing)

    async def collect(self) -> list[tuple[str, list[TokenLogprob], Delta]]:
        """Text, logprobs and the last delta of every choice."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._collect_choice(index)) for index in range(len(self.choices))]
        return [task.result() for task in tasks]

    async def _collect_choice(self, index: int) -> tuple[str, list[TokenLogprob], Delta]:
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        last = Delta("")
        async for delta in self.deltas(index):
            texts.append(delta.text)
            if delta.logprobs:
                logprobs.extend(delta.logprobs)
            last = delta
        return "".join(texts), logprobs, last

    @abstractmethod
    def _encoder(self) -> ChunkEncoder: ...

    @abstractmethod
    async def _stream_choice(self, index: int, chunks: Any, answer: Answer) -> None:
        """Send one choice to its finish."""

    @abstractmethod
    async def whole(self) -> bytes:
        """The answer in one piece, as JSON."""


class ChatGeneration(Generation[ChatRequest]):
    """Chat completions; `tool_parser` makes tool calls of what the model writes."""

    tool_parser: Callable[[], ToolCallParser] | None = None

    def _encoder(self) -> ChunkEncoder:
        return ChatChunks(
            request_id=self.request_id,
            created=self.created,
            model=self.request.model,
            choices=len(self.choices),
            usage_null=self.request.include_usage(),
        )

    async def _stream_choice(self, index: int, chunks: ChatChunks, answer: Answer) -> None:
        pending = chunks.role(index)
        event = answer.event
        encode = chunks.text
        parser = self.tool_parser() if self.tool_parser else None
        async for delta in self.deltas(index):
            text = delta.text
            if parser is not None:
                text, calls = parser.feed(text, final=delta.finish_reason is not None)
                if calls:
                    pending += chunks.tool_calls(index, [call.streamed() for call in calls])
            if delta.logprobs is not None:
                pending += chunks.last(index, text, logprobs=chat_logprobs(self.tokenizer, delta.logprobs))
            elif text:
                pending += encode(index, text)
            if delta.finish_reason is not None:
                finish = _finish(delta, called=parser is not None and parser.count > 0)
                pending += chunks.finish(index, finish, delta.stop_reason)
            if pending:
                await event(pending)
                pending = b""

    async def whole(self) -> bytes:
        choices = []
        for index, (text, logprobs, last) in enumerate(await self.collect()):
            finish = last.finish_reason
            message = out.AnswerMessage(content=text)
            if self.tool_parser is not None:
                content, calls = self.tool_parser().feed(text, final=True)
                if calls:
                    finish = _finish(last, called=True)
                    message = out.AnswerMessage(content=content or None, tool_calls=[call.whole() for call in calls])
            choices.append(
                out.ChatChoice(
                    index=index,
                    message=message,
                    logprobs=chat_logprobs(self.tokenizer, logprobs) if self.request.logprobs else None,
                    finish_reason=finish,
                    stop_reason=last.stop_reason,
                )
            )
        return msgspec.json.encode(
            out.ChatCompletion(
                id=self.request_id,
                created=self.created,
                model=self.request.model,
                choices=choices,
                usage=self.usage(),
            )
        )


def _finish(last: Delta, *, called: bool) -> str:
    """The finish reason: a model that stopped by itself after a tool call waits for the tool; one cut off does not."""
    return "tool_calls" if called and last.finish_reason == "stop" else last.finish_reason or ""


class TextGeneration(Generation[CompletionRequest]):
    """Plain completions; `echo` puts the prompt before the completion."""

    def _encoder(self) -> ChunkEncoder:
        return TextChunks(
            request_id=self.request_id,
            created=self.created,
            model=self.request.model,
            choices=len(self.choices),
            usage_null=self.request.include_usage(),
        )

    def _echo(self, index: int) -> str:
        return self.tokenizer.decode(self.planned[index].request.token_ids) if self.request.echo else ""

    async def _stream_choice(self, index: int, chunks: TextChunks, answer: Answer) -> None:
        event = answer.event
        encode = chunks.text
        echo = self._echo(index)
        offset = len(echo)
        pending = encode(index, echo) if echo else b""
        async for delta in self.deltas(index):
            text = delta.text
            if delta.finish_reason is not None or delta.logprobs is not None:
                logprobs = text_logprobs(self.tokenizer, delta.logprobs, offset) if delta.logprobs else None
                pending += chunks.last(
                    index,
                    text,
                    logprobs=logprobs,
                    finish_reason=delta.finish_reason,
                    stop_reason=delta.stop_reason,
                )
            elif text:
                pending += encode(index, text)
            offset += len(text)
            if pending:
                await event(pending)
                pending = b""

    async def whole(self) -> bytes:
        choices = []
        for index, (text, logprobs, last) in enumerate(await self.collect()):
            echo = self._echo(index)
            wanted = self.request.logprobs is not None
            choices.append(
                out.TextChoice(
                    index=index,
                    text=echo + text,
                    logprobs=text_logprobs(self.tokenizer, logprobs, len(echo)) if wanted else None,
                    finish_reason=last.finish_reason,
                    stop_reason=last.stop_reason,
                )
            )
        return msgspec.json.encode(
            out.TextCompletion(
                id=self.request_id,
                created=self.created,
                model=self.request.model,
                choices=choices,
                usage=self.usage(),
            )
        )
