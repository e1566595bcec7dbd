"""A few hundred cases for every parser of foreign bytes; `make fuzz` gives each of them many thousands."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.parsers import fuzz
from tests.fuzz.targets import targets

CASES = 150


def test_every_parser_takes_or_refuses_what_it_is_given(tmp_path: Path) -> None:
    outcomes = [fuzz(target, seed=7, cases=CASES) for target in targets(tmp_path)]
    assert {outcome.name: outcome.findings for outcome in outcomes if outcome.findings} == {}
    assert all(outcome.cases == CASES for outcome in outcomes)
