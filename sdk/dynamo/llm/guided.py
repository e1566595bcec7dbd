"""What an engine's decoding is held to: by `response_format`, by `guided_*` fields, or by a tool that must be called.

The result is `SamplingOptions.guided`. An engine that cannot hold to it gets no such request: leaving the constraint
out would answer another question than was asked.
"""

from __future__ import annotations

from typing import Any

from dynamo.llm.engines.base import ModelCard
from dynamo.llm.errors import RequestError
from dynamo.llm.openai.requests import ChatRequest, GenerationRequest, NamedTool, ToolDefinition

_FIELDS = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}


def guidance(request: GenerationRequest, card: ModelCard) -> dict[str, Any] | None:
    """The one constraint of a request, if it has any.

    Raises:
        RequestError: several at once, a `json_schema` without a schema, a tool that was not given, or an engine
            without guided decoding.
    """
    found: dict[str, dict[str, Any]] = {}  # by the field that asks for it
    for field, kind in _FIELDS.items():
        if (value := getattr(request, field)) is not None:
            found[field] = {kind: value}
    if (form := request.response_format) is not None:
        if form.type == "json_object":
            found["response_format"] = {"json_object": True}
        elif form.type == "json_schema":
            if form.json_schema is None or form.json_schema.schema is None:
                raise RequestError(
                    "response_format: 'json_schema' needs a schema.", param="response_format.json_schema"
                )
            found["response_format"] = {"json": form.json_schema.schema}
    if isinstance(request, ChatRequest) and must_call_tool(request):
        found["tool_choice"] = {"json": _calls_schema(request)}
    if not found:
        return None
    if len(found) > 1:
        raise RequestError(f"Only one kind of guided output at a time, not {', '.join(sorted(found))}.")
    field, constraint = next(iter(found.items()))
    if not card.extra.get("guided"):
        raise RequestError(
            f"{field}: the engine behind '{card.name}' ({card.engine or 'unnamed'}) has no guided decoding.",
            param=field,
            code="unsupported_parameter",
        )
    return constraint


def must_call_tool(request: ChatRequest) -> bool:
    """Whether the answer has to be a tool call."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, NamedTool)


def forced_tool(request: ChatRequest) -> ToolDefinition | None:
    """The tool that `tool_choice` names, or the only one there is when one is required.

    The model then writes nothing but its arguments.

    Raises:
        RequestError: it names a tool that was not given.
    """
    if isinstance(request.tool_choice, NamedTool):
        wanted = request.tool_choice.function.name
        for tool in request.tools or []:
            if tool.function.name == wanted:
                return tool
        raise RequestError(f"tool_choice: there is no tool '{wanted}'.", param="tool_choice")
    if request.tool_choice == "required" and request.tools and len(request.tools) == 1:
        return request.tools[0]
    return None


def _calls_schema(request: ChatRequest) -> dict[str, Any]:
    """JSON Schema of what the model writes: one tool's arguments, or an array of calls with their names."""
    if forced := forced_tool(request):
        return _arguments(forced)
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.function.name}, "arguments": _arguments(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in request.tools or []
    ]
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"anyOf": calls}}
    if request.parallel_tool_calls is False:
        schema["maxItems"] = 1
    return schema


def _arguments(tool: ToolDefinition) -> dict[str, Any]:
    return tool.function.parameters or {"type": "object"}
