"""What clients send. Fields beyond OpenAI's own carry the names that vLLM made common.

Unknown fields are ignored, as SDKs of newer API versions send them. Field by field the source is OpenAI's
API reference for chat completions, completions and embeddings.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from dynamo.llm.errors import RequestError
from dynamo.sdk.spec import UNREADABLE

MAX_STOPS = 16
MAX_CHOICES = 128

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]


class StreamOptions(msgspec.Struct, kw_only=True):
    include_usage: bool | None = None


class FunctionCall(msgspec.Struct, kw_only=True):
    """`arguments` is a JSON text, as the model wrote it."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct, kw_only=True):
    id: str = ""
    type: str = "function"
    function: FunctionCall


class ContentPart(msgspec.Struct, kw_only=True):
    """Only `text` (and OpenAI's `refusal`) can be served by a text model."""

    type: str
    text: str | None = None
    refusal: str | None = None


class ChatMessage(msgspec.Struct, kw_only=True):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class FunctionDefinition(msgspec.Struct, kw_only=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(msgspec.Struct, kw_only=True):
    type: Literal["function"] = "function"
    function: FunctionDefinition


class NamedFunction(msgspec.Struct, kw_only=True):
    name: str


class NamedTool(msgspec.Struct, kw_only=True):
    type: Literal["function"] = "function"
    function: NamedFunction


class JsonSchemaFormat(msgspec.Struct, kw_only=True):
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchemaFormat | None = None


class GenerationRequest(msgspec.Struct, kw_only=True):
    """What chat and plain completions share.

    `cache_salt` keeps this request's prefix apart in the engine's cache; `router` overrides the router's
    weights and mode for this request alone.
    """

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Probability | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100.0, le=100.0)]] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[Natural] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    ignore_eos: bool = False
    min_tokens: Natural = 0
    max_tokens: Natural | None = None
    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    cache_salt: str | None = None
    router: dict[str, Any] | None = None
    user: str | None = None

    def choices(self) -> int:
        return self.n or 1

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """What types alone cannot say.

        Raises:
            RequestError: naming the field.
        """
        if len(self.stops()) > MAX_STOPS:
            raise RequestError(f"stop: at most {MAX_STOPS} strings, not {len(self.stops())}.", param="stop")
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options: only allowed when stream is true.", param="stream_options")
        if self.cache_salt == "":
            raise RequestError("cache_salt: must not be empty; leave it out instead.", param="cache_salt")
        if self.max_tokens == 0:
            raise RequestError("max_tokens: must be at least 1.", param="max_tokens")


class ChatRequest(GenerationRequest, kw_only=True):
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Natural | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    def limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def alternatives(self) -> int | None:
        """Logprobs wanted per token: None for none, 0 for the chosen token alone."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self) -> None:
        GenerationRequest.check(self)
        if self.max_completion_tokens == 0:
            raise RequestError("max_completion_tokens: must be at least 1.", param="max_completion_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("top_logprobs: only allowed when logprobs is true.", param="top_logprobs")
        for at, message in enumerate(self.messages):
            for part in message.content if isinstance(message.content, list) else ():
                if part.type not in ("text", "refusal"):
                    raise RequestError(
                        f"This model reads text only, not content of type '{part.type}'.",
                        param=f"messages[{at}].content",
                    )
        wants_tool = isinstance(self.tool_choice, NamedTool) or self.tool_choice == "required"
        if wants_tool and not self.tools:
            raise RequestError("tool_choice: names a tool, but there are no tools.", param="tool_choice")


class CompletionRequest(GenerationRequest, kw_only=True):
    """`prompt`: a text, texts, token ids, or lists of token ids."""

    prompt: str | list[str | Natural | list[Natural]]
    echo: bool = False
    suffix: str | None = None
    best_of: int | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    add_special_tokens: bool = True

    def limit(self) -> int:
        return 16 if self.max_tokens is None else self.max_tokens

    def prompts(self) -> list[str] | list[list[int]]:
        return unify(self.prompt, "prompt")

    def check(self) -> None:
        GenerationRequest.check(self)
        if self.suffix:
            raise RequestError("suffix: this server completes at the end only.", param="suffix")
        if self.best_of is not None and self.best_of != self.choices():
            raise RequestError("best_of: only best_of equal to n is served.", param="best_of")
        if self.echo and self.logprobs is not None:
            raise RequestError("echo: logprobs of the prompt are not served.", param="echo")


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    model: str
    input: str | list[str | Natural | list[Natural]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    user: str | None = None

    def inputs(self) -> list[str] | list[list[int]]:
        return unify(self.input, "input")

    def check(self) -> None:
        self.inputs()


def unify(value: str | list[str | int | list[int]], param: str) -> list[str] | list[list[int]]:
    """OpenAI's four shapes of a prompt as a list of texts or a list of id lists.

    Raises:
        RequestError: empty, or of mixed shapes.
    """
    if isinstance(value, str):
        return [value]
    texts = [item for item in value if isinstance(item, str)]
    ids = [item for item in value if isinstance(item, int)]
    lists = [item for item in value if isinstance(item, list)]
    if texts and len(texts) == len(value):
        return texts
    if ids and len(ids) == len(value):
        return [ids]
    if lists and len(lists) == len(value) and all(lists):
        return lists
    problem = "must not be empty" if not value or lists else "must be texts, or token ids, not a mixture"
    raise RequestError(f"{param}: {problem}.", param=param)


AnyRequest = TypeVar("AnyRequest", ChatRequest, CompletionRequest, EmbeddingRequest)

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def decode(body: bytes | str, kind: type[AnyRequest]) -> AnyRequest:
    """A request from its JSON body, fully checked.

    Raises:
        RequestError: not JSON, a field of the wrong type or range, or fields that contradict each other.
    """
    try:
        request = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except UNREADABLE as error:
        raise RequestError(f"The body is not valid JSON: {error}.") from None
    request.check()
    return request


def _explain(text: str) -> RequestError:
    match = _WHERE.match(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    missing = _MISSING.search(what)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        return RequestError(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")
    where = f" for '{path}'" if path else ""
    return RequestError(f"Invalid value{where}: {what}.", param=path or None, code="invalid_value")
