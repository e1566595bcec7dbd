from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dynamod.api.tokens import TokenFileError, add_token, load_tokens


def test_a_token_is_found_by_itself_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = add_token(path, "ci")
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tokens = load_tokens(path)
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.read_only) == ("ci", False)
    assert tokens.find(token[:-1]) is None


def test_a_name_is_given_once_and_must_be_plain(tmp_path: Path) -> None:
    add_token(tmp_path / "t", "ci")
    with pytest.raises(TokenFileError, match="already"):
        add_token(tmp_path / "t", "ci")
    with pytest.raises(TokenFileError, match="not a token name"):
        add_token(tmp_path / "t", "c i")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no token"),
        ("ci read-write", "line 1"),
        ("ci admin " + "0" * 64, "line 1"),
        ("# fine\nci read-write secret-itself", "line 2"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TokenFileError, match=says):
        load_tokens(path)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    add_token(path, "ci")
    path.chmod(0o620)
    with pytest.raises(TokenFileError, match="others may write"):
        load_tokens(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="cannot read"):
        load_tokens(tmp_path / "nowhere")
