"""The files of a model that a frontend needs: named by content, compared, and kept in a cache.

A worker and its frontends may see different file systems: other containers, pods or hosts. A card therefore says
what the files are (`ModelFile`), and whoever has files of the same content may use its own. Weights are never among
them.

The cache is a directory of directories, each named by the digest of what it holds, so that what is there is right
or not there: it appears whole, by a rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dynamo.llm.engines.base import ModelFile
from dynamo.llm.errors import ModelError

NAMES = (
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
"""Nothing else is ever asked for, given or written."""

MAX_FILE = 128 << 20
"""Bytes. The largest tokenizers known are a quarter of it."""

MAX_CACHE = 2 << 30
"""Bytes. Beyond it, what was not used for longest goes."""

ABANDONED_S = 3600.0
"""Age at which an unfinished directory belongs to nobody any more."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".fetching-"


def describe(directory: Path) -> list[ModelFile]:
    """The files of a model directory, by name; none without a tokenizer. Reads them all.

    Raises:
        ModelError: a file is larger than `MAX_FILE`, or cannot be read.
    """
    found = []
    try:
        for name in NAMES:
            path = directory / name
            if path.is_file():
                with path.open("rb") as content:
                    size = os.fstat(content.fileno()).st_size
                    if size > MAX_FILE:
                        raise ModelError(f"{path}: has {size} bytes; files for frontends may have {MAX_FILE}")
                    found.append(ModelFile(name, size, hashlib.file_digest(content, "sha256").hexdigest()))
    except OSError as error:
        raise ModelError(f"{directory}: cannot be read: {error.strerror}") from None
    return found if any(file.name == "tokenizer.json" for file in found) else []


def checked(files: Sequence[ModelFile]) -> Sequence[ModelFile]:
    """The same, once they are known to be such files.

    Raises:
        ModelError: a name, a size or a digest that no worker of ours would give.
    """
    names = [file.name for file in files]
    for file in files:
        if file.name not in NAMES or names.count(file.name) > 1:
            raise ModelError(f"a model card names the file {file.name!r}; it is not used")
        if not 0 <= file.size <= MAX_FILE or not _DIGEST.fullmatch(file.sha256):
            raise ModelError(f"a model card has a wrong size or digest for {file.name}; it is not used")
    return files


def digest_of(files: Sequence[ModelFile]) -> str:
    """One digest (SHA-256, hexadecimal) for all of them."""
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def holds(directory: Path, files: Sequence[ModelFile]) -> bool:
    """Does it hold these files, and no others that would change what a frontend does?"""
    try:
        if any((directory / file.name).stat().st_size != file.size for file in files):
            return False  # the common case of another model, without reading it
        return sorted(describe(directory), key=_name) == sorted(files, key=_name)
    except (OSError, ModelError):
        return False


def places(model_path: str, files: Sequence[ModelFile]) -> Iterator[Path]:
    """Where files may be found without asking a worker.

    They are the worker's own path, the cache, and what `DYN_MODEL_STORE` names: a directory of model directories
    that hosts share, perhaps mounted elsewhere than at the worker.
    """
    yield Path(model_path)
    yield cache_directory() / digest_of(files)
    store = os.environ.get("DYN_MODEL_STORE")
    if store:
        yield Path(store) / Path(model_path).name
        yield Path(store) / digest_of(files)


def cache_directory() -> Path:
    """`DYN_MODEL_CACHE`, else below the user's cache; below the temporary directory for a user without a home."""
    given = os.environ.get("DYN_MODEL_CACHE")
    if given:
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # there is no home
        base = Path(caches) if caches else Path.home() / ".cache"
        if os.access(next(path for path in (base, *base.parents) if path.is_dir()), os.W_OK):
            return base / "dynamod" / "models"
    return Path(tempfile.gettempdir()) / f"dynamo-models-{os.getuid()}"


@contextlib.contextmanager
def unfinished() -> Iterator[Path]:
    """A directory of the cache to write into, removed at the end unless it was finished.

    Raises:
        ModelError: the cache cannot be written.
    """
    cache = cache_directory()
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid != os.getuid() and not os.environ.get("DYN_MODEL_CACHE"):
            raise ModelError(f"{cache}: belongs to somebody else; set DYN_MODEL_CACHE to a directory of your own")
        made = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=cache))
    except OSError as error:
        raise ModelError(f"{cache}: cannot be written ({error.strerror}); set DYN_MODEL_CACHE to a directory") from None
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def finish(directory: Path, files: Sequence[ModelFile]) -> Path:
    """Give a complete directory its name in the cache; somebody may have been faster, with the same content.

    Raises:
        ModelError: what was written is not what the files should be, or cannot be stored.
    """
    if not holds(directory, files):
        raise ModelError(
            "a worker's model files are not those of its card: they were changed while it ran; start the worker anew"
        )
    place = directory.parent / digest_of(files)
    try:
        with contextlib.suppress(OSError):
            directory.rename(place)
        if not holds(place, files):  # spoilt by somebody: it gives way
            shutil.rmtree(place)
            directory.rename(place)
    except OSError as error:
        raise ModelError(f"{place}: cannot be stored: {error.strerror}") from None
    _prune(directory.parent, keep=place)
    return place


def used(directory: Path) -> None:
    """Note that a directory of the cache is in use."""
    if _DIGEST.fullmatch(directory.name):
        with contextlib.suppress(OSError):
            os.utime(directory)


def _prune(cache: Path, keep: Path) -> None:
    """Remove what was not used for longest until the rest is within `MAX_CACHE`, and what nobody finished."""
    with contextlib.suppress(OSError):
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for path in cache.iterdir():
            if path.name.startswith(_UNFINISHED) and now - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
            elif _DIGEST.fullmatch(path.name) and path != keep:
                size = sum(file.stat().st_size for file in path.iterdir())
                kept.append((path.stat().st_mtime, size, path))
        total = sum(file.stat().st_size for file in keep.iterdir()) + sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= MAX_CACHE:
                break
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def _name(file: ModelFile) -> str:
    return file.name
