from __future__ import annotations

import json

import pytest

from dynamo.llm.tools import Call, CallList, ForcedCall, HermesCalls

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_and_text_are_told_apart_however_the_chunks_break(size: int) -> None:
    parser = HermesCalls()
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
    assert HermesCalls().feed(broken, final=True) == (broken, [])
    assert HermesCalls().feed("<tool_call>{", final=True) == ("<tool_call>{", [])


def test_a_forced_call_hands_its_arguments_on_as_they_come() -> None:
    parser = ForcedCall("f")
    assert parser.feed("", final=False) == ("", [])
    pieces: list[Call] = []
    for text, final in (('{"x":', False), ("", False), (" 1}", True)):
        shown, found = parser.feed(text, final=final)
        assert shown == ""
        pieces += found
    assert [(piece.index, piece.name) for piece in pieces] == [(0, "f"), (0, "")]
    assert json.loads("".join(piece.arguments for piece in pieces)) == {"x": 1}
    assert pieces[1].streamed() == {"index": 0, "function": {"arguments": " 1}"}}
    assert ForcedCall("f").feed("", final=True)[1][0].arguments == "", "an empty answer is a call too"


def test_a_list_of_calls_is_read_when_it_is_complete() -> None:
    parser = CallList()
    assert parser.feed('[{"name": "f", "arguments": {"x": 1}}, {"name"', final=False) == ("", [])
    text, calls = parser.feed(': "g"}]', final=True)
    assert (text, [(c.index, c.name, json.loads(c.arguments)) for c in calls]) == (
        "",
        [(0, "f", {"x": 1}), (1, "g", {})],
    )
    assert CallList().feed('[{"name": "f"', final=True) == ('[{"name": "f"', [])
