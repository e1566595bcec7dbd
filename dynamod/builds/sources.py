"""Which of a project's files go into a build.

Files are taken by the include patterns and left out by the ignore files (`.gitignore` at every level,
`.dockerignore` at the top, both in git's syntax) and the exclude patterns. A project adds to both in its
`pyproject.toml`:

    [tool.dynamo.build]
    include = ["prompts/**/*.jinja"]
    exclude = ["notebooks/"]
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from dynamod.builds.errors import BadSources

INCLUDED = tuple(f"*.{suffix}" for suffix in ("py", "yaml", "yml", "json", "toml", "md", "sh", "txt"))
NEVER = (".git/", ".hg/", ".venv/", "venv/", "__pycache__/", "node_modules/", "*.pyc", ".DS_Store", "/dist/", "/build/")
MAX_FILE_BYTES = 256 * 1024 * 1024
"""Model weights do not belong into a build: they are mounted, or fetched by a start hook."""


@dataclass(frozen=True)
class SourceRules:
    """Patterns in git's syntax, beyond the defaults."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """One file: where it stands in the project (`/`-separated), and what is in it."""

    path: str
    size: int
    executable: bool
    sha256: str


@dataclass
class _Folder:
    """A folder under way: the ignore files that hold in it, innermost last."""

    path: Path
    ignores: list[tuple[Path, GitIgnoreSpec]] = field(default_factory=list)


def read_rules(root: Path) -> SourceRules:
    """The project's own settings.

    Raises:
        BadSources: they cannot be read, or have the wrong shape; names the key.
    """
    path = root / "pyproject.toml"
    if not path.is_file():
        return SourceRules()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSources(f"{path}: {error}", field="pyproject.toml") from None
    table = document.get("tool", {}).get("dynamo", {}).get("build", {})
    known = {"include", "exclude"}
    for key in sorted(set(table) - known):
        raise BadSources(
            f"{key!r} means nothing here", field=f"tool.dynamo.build.{key}", remedy="use include or exclude"
        )
    return SourceRules(_patterns(table, "include"), _patterns(table, "exclude"))


def _patterns(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadSources("expected a list of patterns", field=f"tool.dynamo.build.{key}")
    return tuple(value)


def select(root: Path, rules: SourceRules) -> list[SourceFile]:
    """The files of a build, by path.

    Raises:
        BadSources: nothing is left, a file cannot be read, is too large, or is a link out of the project.
    """
    root = root.resolve()
    include = GitIgnoreSpec.from_lines([*INCLUDED, *rules.include])
    exclude = GitIgnoreSpec.from_lines([*NEVER, *rules.exclude])
    files = [
        _read(root, path) for path in _walk(root, exclude) if include.match_file(path.relative_to(root).as_posix())
    ]
    if not files:
        raise BadSources(f"no file in {root} is to be built", remedy="build in the project's directory")
    return sorted(files, key=lambda one: one.path)


def mention(root: Path, files: Sequence[SourceFile], words: bytes) -> bool:
    """Do these bytes stand in any Python file?"""
    return any(words in (root / one.path).read_bytes() for one in files if one.path.endswith(".py"))


def _walk(root: Path, exclude: GitIgnoreSpec) -> Iterator[Path]:
    """Files that nothing ignores. Ignored folders are not entered: they may be huge."""
    waiting = [_Folder(root)]
    while waiting:
        folder = waiting.pop()
        ignores = [*folder.ignores, *_ignore_files(folder.path, root)]
        try:
            entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
        except OSError as error:
            raise BadSources(f"cannot read {folder.path}: {error.strerror}") from None
        for entry in entries:
            path = Path(entry.path)
            is_folder = entry.is_dir(follow_symlinks=False)
            if _ignored(path, is_folder, root, exclude, ignores):
                continue
            if is_folder:
                waiting.append(_Folder(path, ignores))
            elif path.is_file():
                yield path


def _ignore_files(folder: Path, root: Path) -> Iterator[tuple[Path, GitIgnoreSpec]]:
    names = (".gitignore", ".dockerignore") if folder == root else (".gitignore",)
    for name in names:
        path = folder / name
        if path.is_file():
            yield folder, GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8", errors="replace").splitlines())


def _ignored(
    path: Path, is_folder: bool, root: Path, exclude: GitIgnoreSpec, ignores: Sequence[tuple[Path, GitIgnoreSpec]]
) -> bool:
    suffix = "/" if is_folder else ""
    if exclude.match_file(path.relative_to(root).as_posix() + suffix):
        return True
    verdict = False
    for base, spec in ignores:  # the innermost file that says anything decides, as in git
        result = spec.check_file(path.relative_to(base).as_posix() + suffix)
        if result.include is not None:
            verdict = result.include
    return verdict


def _read(root: Path, path: Path) -> SourceFile:
    name = path.relative_to(root).as_posix()
    real = path.resolve()
    if not real.is_relative_to(root):
        raise BadSources(
            f"{name} is a link to {real}, outside of the project", remedy="copy the file, or exclude the link"
        )
    try:
        status = real.stat()
        if status.st_size > MAX_FILE_BYTES:
            raise BadSources(
                f"{name} has {status.st_size >> 20} MiB; a build takes files up to {MAX_FILE_BYTES >> 20} MiB",
                remedy="exclude it and mount or fetch it where the graph runs",
            )
        with real.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadSources(f"cannot read {name}: {error.strerror}") from None
    return SourceFile(path=name, size=status.st_size, executable=bool(status.st_mode & 0o100), sha256=digest)
