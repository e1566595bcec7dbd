from __future__ import annotations

from pathlib import Path

import pytest

from dynamod.core.errors import Invalid
from dynamod.drivers.secrets import references, revealed


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    file = tmp_path / "hub.env"
    file.touch(mode=0o600)
    file.write_text("# tokens\n\nTOKEN=a=b c\nOTHER=\n")
    return tmp_path


def test_references_stand_for_values_and_are_read_when_needed(directory: Path) -> None:
    made = references(directory, ["hub"], {"HF_TOKEN": "hub/TOKEN"})
    assert made == {
        "TOKEN": "secret://hub/TOKEN",
        "OTHER": "secret://hub/OTHER",
        "HF_TOKEN": "secret://hub/TOKEN",
    }
    assert revealed(directory, {**made, "PLAIN": "x"}) == {
        "TOKEN": "a=b c",
        "OTHER": "",
        "HF_TOKEN": "a=b c",
        "PLAIN": "x",
    }
    (directory / "hub.env").write_text("TOKEN=new\nOTHER=\n")
    assert revealed(directory, made)["HF_TOKEN"] == "new"


@pytest.mark.parametrize(
    ("whole", "single", "words"),
    [
        (["none"], {}, "cannot be read"),
        ([], {"A": "hub/NONE"}, "has no key 'NONE'"),
        ([], {"A": "hub"}, "has no key ''"),
        (["../hub"], {}, "is no name of a secret"),
    ],
)
def test_what_is_missing_is_said(directory: Path, whole: list[str], single: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        references(directory, whole, single)


def test_what_others_may_read_is_no_secret(directory: Path) -> None:
    (directory / "hub.env").chmod(0o644)
    with pytest.raises(Invalid, match="chmod 600"):
        references(directory, ["hub"], {})


def test_a_line_without_a_value_is_refused(directory: Path) -> None:
    (directory / "hub.env").write_text("TOKEN\n")
    with pytest.raises(Invalid, match="not KEY=VALUE"):
        references(directory, ["hub"], {})
