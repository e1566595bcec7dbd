"""Chat templates: messages to the text a model was trained on.

The environment is the one Hugging Face documents for `chat_template` (jinja2, immutable sandbox, trimmed
blocks, loop controls, `raise_exception`, `strftime_now`, its own `tojson`, the `generation` tag), so that a
template renders to the same characters as in transformers.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dynamo.llm.errors import ModelError, RequestError
from dynamo.llm.tokenizer import read_json


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks what the assistant wrote; rendering keeps its body."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def environment() -> ImmutableSandboxedEnvironment:
    """A sandbox for templates, which come from model files and are not to be trusted."""
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise
    env.globals["strftime_now"] = _strftime_now
    return env


class ChatTemplate:
    """The chat templates of one model: mostly one, sometimes another for calls with tools."""

    def __init__(self, sources: Mapping[str, str], special_tokens: Mapping[str, str] | None = None) -> None:
        """`sources` by name, `default` and perhaps `tool_use`.

        Raises:
            ModelError: a template has a syntax error.
        """
        env = environment()
        try:
            self._templates = {name: env.from_string(source) for name, source in sources.items()}
        except jinja2.TemplateSyntaxError as error:
            raise ModelError(f"chat template: line {error.lineno}: {error.message}") from None
        self._variables = dict(special_tokens or {})

    @classmethod
    def load(cls, path: str | Path, special_tokens: Mapping[str, str] | None = None) -> ChatTemplate | None:
        """The templates of a model directory, or None when the model has none.

        `chat_template.jinja` comes first, then `chat_template.json`, then `tokenizer_config.json`.
        """
        directory = Path(path)
        file = directory / "chat_template.jinja"
        if file.is_file():
            return cls({"default": file.read_text(encoding="utf-8")}, special_tokens)
        for name in ("chat_template.json", "tokenizer_config.json"):
            template = read_json(directory / name).get("chat_template")
            if isinstance(template, str):
                return cls({"default": template}, special_tokens)
            if isinstance(template, list):
                return cls({item["name"]: item["template"] for item in template}, special_tokens)
        return None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt text. `variables` are extra names for the template (`chat_template_kwargs`).

        Raises:
            RequestError: the template refuses these messages, or fails on them.
        """
        template = self._templates.get("tool_use") if tools else None
        template = template or self._templates.get("default") or next(iter(self._templates.values()))
        context = {**self._variables, **(variables or {})}
        try:
            text = template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt and not continue_final_message,
                **{k: v for k, v in context.items() if k not in _RESERVED},
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise RequestError(f"The chat template refuses these messages: {error}", param="messages") from None
        return _cut_after_final(text, messages) if continue_final_message else text


_RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt"})


def _cut_after_final(text: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """The text up to the end of the last message's content, so that the model goes on writing it."""
    content = messages[-1].get("content")
    final = content.strip() if isinstance(content, str) else ""
    at = text.rfind(final) if final else -1
    if at < 0:
        raise RequestError(
            "continue_final_message: the chat template does not show the final message as it was given.",
            param="continue_final_message",
        )
    return text[: at + len(final)]
