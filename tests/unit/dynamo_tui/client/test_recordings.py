"""Recordings outlive the programs that made them: `recordings/version-1.dynrec` is of 0.1.0, and stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynamo_tui.client.recording import KINDS, RecordingError, read_recording

OLD = Path(__file__).parent / "recordings" / "version-1.dynrec"


def lines() -> list[Any]:
    return [json.loads(line) for line in OLD.read_text().splitlines()]


def written(path: Path, entries: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def test_a_recording_of_an_older_version_opens() -> None:
    recording = read_recording(OLD)
    assert (recording.header.graph, recording.header.version) == ("chat", 1)
    assert {entry.kind for entry in recording.entries} == set(KINDS) - {"gap"}
    by_kind = {entry.kind: entry.data for entry in recording.entries}
    assert by_kind["graph"].services[0].name == "Frontend"
    assert by_kind["kv"].predicted.requests == 50
    assert by_kind["line"].text.endswith("Worker is up (generate, embed)")


def test_what_a_newer_program_added_is_passed_over(tmp_path: Path) -> None:
    header, *entries = lines()
    for entry in entries:
        for data in entry[2] if isinstance(entry[2], list) else [entry[2]]:
            data["added_later"] = {"x": [1, None]}
    entries.append([header["started"], "a kind of its own", {"y": 2}])
    recording = read_recording(written(tmp_path / "new.dynrec", [header | {"added_later": 3}, *entries]))
    assert recording.entries == read_recording(OLD).entries


def test_fields_that_an_older_program_did_not_know_have_defaults(tmp_path: Path) -> None:
    """Every field that holds its default may be missing, at any depth."""
    header, *entries = lines()
    slim = [[t, kind, _without_empties(data)] for t, kind, data in entries]
    old = read_recording(OLD).entries
    assert read_recording(written(tmp_path / "slim.dynrec", [header, *slim])).entries == old


def _without_empties(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_empties(item) for item in data]
    if isinstance(data, dict):
        return {key: _without_empties(value) for key, value in data.items() if value not in (None, [], {})}
    return data


def test_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    header, *entries = lines()
    newer = written(tmp_path / "newer.dynrec", [header | {"version": 2}, *entries])
    with pytest.raises(RecordingError, match="version 2") as refused:
        read_recording(newer)
    assert "reads version 1" in (refused.value.remedy or "")
