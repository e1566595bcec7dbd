"""Where builds are kept, under one directory. The names of the archives say all that is needed to find one again.

archives/<digest>/<name>@<version>.tar.gz   one archive for each tag
trees/<digest>/                             unpacked, once a build is run
environments/<lock digest>/                 virtual environments, shared by builds with equal lock files
incoming/                                   uploads under way
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dynamod.builds import archive, environments
from dynamod.builds.archive import Archive
from dynamod.builds.environments import Say

_SUFFIX = ".tar.gz"


@dataclass(frozen=True)
class Prepared:
    """A build that can be run: where its sources and its interpreter are."""

    archive: Archive
    tree: Path
    interpreter: Path

    @property
    def sources(self) -> Path:
        return self.tree / archive.SOURCES


@dataclass(frozen=True)
class Kept:
    """One archive that is kept, as its path tells."""

    path: Path
    digest: str
    name: str
    version: str


@dataclass(frozen=True)
class Layout:
    """All methods touch the disk: call them off the event loop."""

    home: Path

    @property
    def environments(self) -> Path:
        return self.home / "environments"

    @property
    def incoming(self) -> Path:
        """Made where it is missing."""
        path = self.home / "incoming"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def archive(self, digest: str, name: str, version: str) -> Path:
        return self.home / "archives" / digest / f"{name}@{version}{_SUFFIX}"

    def tree(self, digest: str) -> Path:
        return self.home / "trees" / digest

    def kept(self) -> Iterator[Kept]:
        """Every archive that is there."""
        for path in sorted((self.home / "archives").glob(f"*/*@*{_SUFFIX}")):
            name, _, version = path.name.removesuffix(_SUFFIX).partition("@")
            yield Kept(path, path.parent.name, name, version)

    def find(self, name: str, version: str | None) -> Kept | None:
        """The build `name:version`, or the one of that name which was kept last."""
        found = [one for one in self.kept() if one.name == name and version in (None, one.version)]
        return max(found, key=lambda one: one.path.stat().st_mtime, default=None)

    def keep(self, path: Path, digest: str, name: str, version: str) -> Path:
        """Move an archive to its place; one with the same tag and digest is replaced."""
        place = self.archive(digest, name, version)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(path, place)
        return place

    def retag(self, digest: str, name: str, version: str, to: str) -> None:
        """Keep an archive under another version of its name."""
        with contextlib.suppress(FileNotFoundError):
            self.archive(digest, name, version).replace(self.archive(digest, name, to))

    def drop(self, digest: str, name: str, version: str) -> None:
        """Delete an archive; with the last one of a digest its tree goes, and the environment that no other needs."""
        place = self.archive(digest, name, version)
        place.unlink(missing_ok=True)
        if any(place.parent.glob(f"*{_SUFFIX}")):
            return
        shutil.rmtree(place.parent, ignore_errors=True)
        tree = self.tree(digest)
        if not tree.is_dir():
            return
        environment = self._environment_of(tree)
        shutil.rmtree(tree, ignore_errors=True)
        others = {self._environment_of(one) for one in tree.parent.iterdir() if not one.name.startswith(".")}
        if environment not in others:
            shutil.rmtree(self.environments / environment, ignore_errors=True)
            (self.environments / f"{environment}.lock").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete environments that no tree needs: what somebody who died left. A tree without an archive may be that of
        a file which is served."""
        needed = {self._environment_of(tree) for tree in (self.home / "trees").glob("[!.]*") if tree.is_dir()}
        for environment in self.environments.glob("[!.]*"):
            if environment.is_dir() and environment.name not in needed:
                shutil.rmtree(environment, ignore_errors=True)

    def unpack(self, path: Path, say: Say) -> tuple[Archive, Path]:
        """Unpack the archive at `path` into its tree, unless that was done before.

        Raises:
            BadArchive: it is damaged or unsafe.
            OSError: the disk is full, …
        """
        opened = Archive.open(path)
        tree = self.tree(opened.manifest.digest)
        if not tree.is_dir():
            opened.verify()
            say("unpacking the sources")
            try:
                opened.extract(tree)
            except OSError:
                if not tree.is_dir():  # else another one unpacks the same build, and was first
                    raise
        return opened, tree

    def prepare(self, path: Path, say: Say) -> Prepared:
        """Unpack the archive at `path` and make its environment, unless that was done before.

        Raises:
            BadArchive, OSError: see `unpack`.
            LockFailed: the environment cannot be made.
        """
        opened, tree = self.unpack(path, say)
        interpreter = environments.ensure(self.environments, tree, opened.manifest.python_version, say)
        return Prepared(opened, tree, interpreter)

    @staticmethod
    def _environment_of(tree: Path) -> str:
        return environments.name_of(tree, archive.python_version_of(tree))
