"""OpenAI requests to engine requests: template, token ids, sampling and stop options, all checked.

Nothing reaches an engine that it could choke on: ids are in range and the prompt leaves room for an answer.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dynamo.llm.chat_template import ChatTemplate
from dynamo.llm.engines.base import EngineRequest, ModelCard, SamplingOptions, StopOptions
from dynamo.llm.errors import ContextLengthExceeded, RequestError
from dynamo.llm.guided import guidance
from dynamo.llm.openai.requests import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
)
from dynamo.llm.tokenizer import Tokenizer
from dynamo.sdk.spec import UNREADABLE

SEED_RANGE = 1 << 63


class Preprocessor:
    """One model's way from text to ids. `card.context_length` 0 means no limit."""

    def __init__(self, card: ModelCard, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self.card = card
        self.tokenizer = tokenizer
        self._template = template
        self._vocab_size = card.vocab_size or tokenizer.vocab_size

    def chat(self, request: ChatRequest, request_id: str) -> list[EngineRequest]:
        """One engine request per choice.

        Raises:
            RequestError: the model cannot chat, the template refuses, or the prompt is too long.
        """
        if self._template is None:
            raise RequestError(
                f"The model '{self.card.name}' has no chat template; use /v1/completions.", param="model"
            )
        tools = None if request.tool_choice == "none" else request.tools
        text = self._template.render(
            [template_message(message) for message in request.messages],
            tools=[msgspec.to_builtins(tool) for tool in tools] if tools else None,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
            variables=request.chat_template_kwargs,
        )
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        sampling = self._sampling(request, request.alternatives())
        limit = self._limit(len(ids), request.limit(), "messages")
        return self._choices(request, request_id, [ids], sampling, limit)

    def completion(self, request: CompletionRequest, request_id: str) -> list[EngineRequest]:
        """One engine request per prompt and choice, prompts first.

        Raises:
            RequestError: an id out of range, or a prompt that is too long.
        """
        prompts = self._ids(request.prompts(), "prompt", add_special_tokens=request.add_special_tokens)
        sampling = self._sampling(request, request.logprobs)
        limit = min((self._limit(len(ids), request.limit(), "prompt") or 0) for ids in prompts) or None
        return self._choices(request, request_id, prompts, sampling, limit)

    def embedding(self, request: EmbeddingRequest) -> list[list[int]]:
        """The ids of each input.

        Raises:
            RequestError: an id out of range, or an input that is too long.
        """
        inputs = self._ids(request.inputs(), "input", add_special_tokens=True)
        for ids in inputs:
            if self.card.context_length and len(ids) > self.card.context_length:
                raise ContextLengthExceeded(
                    limit=self.card.context_length, prompt=len(ids), completion=None, param="input"
                )
        return inputs

    def _ids(self, given: list[str] | list[list[int]], param: str, *, add_special_tokens: bool) -> list[list[int]]:
        result = []
        for item in given:
            if isinstance(item, str):
                ids = self.tokenizer.encode(item, add_special_tokens=add_special_tokens)
            else:
                ids = item
                if max(ids) >= self._vocab_size:
                    raise RequestError(
                        f"{param}: token id {max(ids)} is out of range; the vocabulary has {self._vocab_size}.",
                        param=param,
                        code="invalid_token_id",
                    )
            if not ids:
                raise RequestError(f"{param}: is empty.", param=param)
            result.append(ids)
        return result

    def _limit(self, prompt: int, asked: int | None, param: str) -> int | None:
        """How many tokens may be generated after a prompt of that many."""
        room = self.card.context_length - prompt
        if not self.card.context_length:
            return asked
        if room < 1 or (asked is not None and asked > room):
            raise ContextLengthExceeded(limit=self.card.context_length, prompt=prompt, completion=asked, param=param)
        return room if asked is None else asked

    def _choices(
        self,
        request: GenerationRequest,
        request_id: str,
        prompts: list[list[int]],
        sampling: SamplingOptions,
        limit: int | None,
    ) -> list[EngineRequest]:
        stop = StopOptions(
            max_tokens=limit,
            min_tokens=request.min_tokens,
            stop_token_ids=request.stop_token_ids or [],
            ignore_eos=request.ignore_eos,
        )
        count = request.choices()
        made: list[EngineRequest] = []
        for ids in prompts:
            for choice in range(count):
                own = sampling
                if choice and sampling.seed is not None:
                    own = msgspec.structs.replace(sampling, seed=(sampling.seed + choice) % SEED_RANGE)
                made.append(
                    EngineRequest(
                        request_id=f"{request_id}-{len(made)}" if len(prompts) * count > 1 else request_id,
                        token_ids=ids,
                        model=self.card.name,
                        sampling=own,
                        stop=stop,
                        lora=request.model if request.model in self.card.loras else None,
                        salt=request.cache_salt,
                    )
                )
        return made

    def _sampling(self, request: GenerationRequest, logprobs: int | None) -> SamplingOptions:
        return SamplingOptions(
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            min_p=request.min_p,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            repetition_penalty=request.repetition_penalty,
            seed=request.seed,
            logprobs=logprobs,
            logit_bias=self._bias(request.logit_bias),
            guided=guidance(request, self.card),
        )

    def _bias(self, given: dict[str, float] | None) -> dict[int, float] | None:
        if not given:
            return None
        try:
            bias = {int(key): value for key, value in given.items()}
        except ValueError:
            raise RequestError("logit_bias: keys must be token ids.", param="logit_bias") from None
        if wrong := [key for key in bias if not 0 <= key < self._vocab_size]:
            raise RequestError(f"logit_bias: token id {wrong[0]} is out of range.", param="logit_bias")
        return bias


def template_message(message: ChatMessage) -> dict[str, Any]:
    """A message as chat templates expect it: text content, and tool arguments as objects."""
    content = message.content
    if isinstance(content, list):
        content = "\n".join(part.text or part.refusal or "" for part in content)
    result: dict[str, Any] = {"role": message.role, "content": content or ""}
    if message.name is not None:
        result["name"] = message.name
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        result["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        calls = []
        for call in message.tool_calls:
            try:
                arguments = msgspec.json.decode(call.function.arguments or "{}")
            except UNREADABLE as error:
                raise RequestError(
                    f"messages: the arguments of the tool call '{call.function.name}' are not JSON ({error}).",
                    param="messages",
                ) from None
            function = {"name": call.function.name, "arguments": arguments}
            calls.append({"id": call.id, "type": call.type, "function": function})
        result["tool_calls"] = calls
    return result
