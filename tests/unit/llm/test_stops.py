from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo.llm.stops import StopStrings


def run(stops: list[str], chunks: list[str], *, include: bool = False) -> tuple[str, str | None]:
    filter_ = StopStrings(stops, include=include)
    text = ""
    for chunk in chunks:
        text += filter_.feed(chunk)
        if filter_.matched is not None:
            return text, filter_.matched
    return text + filter_.finish(), None


def test_a_stop_string_may_span_chunks() -> None:
    assert run(["END"], ["one E", "N", "D two"]) == ("one ", "END")


def test_the_earliest_stop_wins_and_the_longer_of_two_at_one_place() -> None:
    assert run(["b", "a"], ["xxab"]) == ("xx", "a")
    assert run(["ab", "abc"], ["xabc"]) == ("x", "abc")


def test_the_stop_string_is_kept_on_request() -> None:
    assert run(["END"], ["one EN", "D two"], include=True) == ("one END", "END")


def test_text_that_only_looks_like_a_stop_comes_out_in_the_end() -> None:
    assert run(["END"], ["the E", "N"]) == ("the EN", None)


@pytest.mark.parametrize("text", ["abc", "E", "EN ", ""])
def test_nothing_is_lost_without_a_match(text: str) -> None:
    assert run(["END"], list(text)) == (text, None)


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_chunking_changes_nothing_before_the_match(text: str, stops: list[str]) -> None:
    whole, _ = run(stops, [text])
    by_character, matched = run(stops, list(text))
    if matched is None:
        assert by_character == whole == text
    else:
        assert text.startswith(by_character + matched)
        assert not any(stop in by_character for stop in stops)
