"""Model files by content: described, checked, cached whole, and the oldest given up."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from dynamo.llm import model_files
from dynamo.llm.engines.base import ModelFile
from dynamo.llm.errors import ModelError
from dynamo.llm.model_files import (
    cache_directory,
    checked,
    describe,
    digest_of,
    finish,
    holds,
    places,
    unfinished,
    used,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DYN_MODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DYN_MODEL_STORE", raising=False)
    return tmp_path / "cache"


def stored(source: Path, files: list[ModelFile]) -> Path:
    with unfinished() as directory:
        for file in files:
            shutil.copy(source / file.name, directory)
        return finish(directory, files)


def variant(source: Path, target: Path, text: str) -> Path:
    shutil.copytree(source, target)
    (target / "chat_template.jinja").write_text(text)
    return target


def test_a_directory_is_described_by_what_frontends_need(model_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_path, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"weights")
    files = describe(copy)
    assert [file.name for file in files] == [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert files == describe(model_path)
    assert files[2].size == (model_path / "tokenizer.json").stat().st_size
    (copy / "tokenizer.json").unlink()
    assert describe(copy) == []


def test_another_template_is_another_digest(model_path: Path, tmp_path: Path) -> None:
    other = variant(model_path, tmp_path / "other", "{{ messages[0].content }}")
    assert digest_of(describe(other)) != digest_of(describe(model_path))
    assert not holds(other, describe(model_path)), "one file more would be used"
    assert not holds(model_path, describe(other))
    assert holds(model_path, list(reversed(describe(model_path))))


@pytest.mark.parametrize(
    "file",
    [
        ModelFile("../../.ssh/authorized_keys", 1, "0" * 64),
        ModelFile("model.safetensors", 1, "0" * 64),
        ModelFile("tokenizer.json", -1, "0" * 64),
        ModelFile("tokenizer.json", 1 << 40, "0" * 64),
        ModelFile("tokenizer.json", 1, "../" + "0" * 61),
    ],
)
def test_what_no_worker_of_ours_says_is_refused(file: ModelFile) -> None:
    with pytest.raises(ModelError, match="it is not used"):
        checked([file])


def test_the_same_name_twice_is_refused() -> None:
    with pytest.raises(ModelError):
        checked([ModelFile("config.json", 1, "0" * 64)] * 2)


def test_a_large_file_is_refused(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MAX_FILE", 100)
    with pytest.raises(ModelError, match="files for frontends may have 100"):
        describe(model_path)


def test_the_cache_holds_what_is_complete(model_path: Path, cache: Path) -> None:
    files = describe(model_path)
    place = stored(model_path, files)
    assert place == cache / digest_of(files)
    assert holds(place, files)
    assert stored(model_path, files) == place, "a second one is content with the first"
    assert [path.name for path in cache.iterdir()] == [place.name]


def test_what_was_spoilt_in_the_cache_gives_way(model_path: Path) -> None:
    files = describe(model_path)
    (stored(model_path, files) / "config.json").write_text("{}")
    assert holds(stored(model_path, files), files)


def test_other_content_is_not_stored(model_path: Path, tmp_path: Path, cache: Path) -> None:
    files = describe(model_path)
    other = variant(model_path, tmp_path / "other", "x")
    (other / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="changed while it ran"):
        stored(other, files)
    assert list(cache.iterdir()) == []


def test_the_oldest_goes_when_the_cache_is_full(
    model_path: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = cache / ".fetching-dead"
    abandoned.mkdir(parents=True)
    os.utime(abandoned, (1, 1))
    sizes = sum(file.size for file in describe(model_path))
    monkeypatch.setattr(model_files, "MAX_CACHE", int(2.5 * sizes))
    made = []
    for number in range(3):
        other = variant(model_path, tmp_path / str(number), f"template {number}")
        made.append(stored(other, describe(other)))
        os.utime(made[-1], (time.time() - 100 + number,) * 2)
        if number == 1:
            used(made[0])
    assert made[0].is_dir(), "it was used since"
    assert not made[1].exists()
    assert made[2].is_dir()
    assert not abandoned.exists()


def test_where_files_are_looked_for(monkeypatch: pytest.MonkeyPatch, model_path: Path, cache: Path) -> None:
    files = describe(model_path)
    monkeypatch.setenv("DYN_MODEL_STORE", "/shared")
    assert list(places("/data/llama", files)) == [
        Path("/data/llama"),
        cache / digest_of(files),
        Path("/shared/llama"),
        Path("/shared") / digest_of(files),
    ]


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYN_MODEL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the user may be root, who may write anywhere
    assert cache_directory().name == f"dynamo-models-{os.getuid()}"


def test_a_cache_that_cannot_be_written_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYN_MODEL_CACHE", "/proc/nothing/here")
    with pytest.raises(ModelError, match="set DYN_MODEL_CACHE"), unfinished():
        pass
