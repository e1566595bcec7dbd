from __future__ import annotations

from pathlib import Path

from dynamo_tui.cli.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "cli.md"


def test_the_command_reference_is_current() -> None:
    assert PAGE.read_text() == reference(), "run: python -m dynamo_tui.cli.reference > docs/cli.md"
