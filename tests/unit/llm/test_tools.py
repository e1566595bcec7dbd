from __future__ import annotations

import json

import pytest

from dynamo.llm.tools import ToolCallParser

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_and_text_are_told_apart_however_the_chunks_break(size: int) -> None:
    parser = ToolCallParser()
    whole = f"before {CALL} between {CALL} after <tool"
    shown, calls = "", []
    for at in range(0, len(whole), size):
        text, found = parser.feed(whole[at : at + size], final=False)
        shown += text
        calls += found
    text, found = parser.feed("", final=True)
    assert shown + text == "before  between  after <tool"
    assert [(c.index, c.name, json.loads(c.arguments)) for c in calls + found] == [
        (0, "f", {"x": 1}),
        (1, "f", {"x": 1}),
    ]
    assert calls[0].id != calls[1].id


def test_what_cannot_be_read_stays_text() -> None:
    broken = "<tool_call>not json</tool_call>"
    assert ToolCallParser().feed(broken, final=True) == (broken, [])
    assert ToolCallParser().feed("<tool_call>{", final=True) == ("<tool_call>{", [])


def test_a_forced_tool_takes_the_whole_text_as_its_arguments() -> None:
    parser = ToolCallParser("f")
    assert parser.feed('{"x":', final=False) == ("", [])
    text, [call] = parser.feed(" 1}", final=True)
    assert (text, call.name, json.loads(call.arguments)) == ("", "f", {"x": 1})
