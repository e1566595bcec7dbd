"""Builds on the wire: what an archive holds, where it is kept, and who runs it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `build` command line. `tag` is `name[:version]`; by default the graph's name and a part of the digest.

    The archive is written to `output_dir`; with `keep_in` it goes to its place in that directory of builds,
    where a daemon finds it when it starts.
    """

    target: str
    output_dir: str
    keep_in: str = ""
    tag: str | None = None
    config_file: str | None = None
    working_dir: str = ""
    overrides: tuple[str, ...] = ()
    interpreter: str = ""
    labels: dict[str, str] = {}
    force: bool = False


class ImageChoices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the image of a build is to be. `image` is its name, the build's tag by default; `gpu` None means as the
    graph asks; `ca` are certificates for the package index, used while building only."""

    image: str | None = None
    base_image: str | None = None
    gpu: bool | None = None
    platform: str | None = None
    ca: str | None = None
    labels: dict[str, str] = {}
    push: bool = False


class ContainerizeOptions(ImageChoices, frozen=True, kw_only=True, tag="containerize"):
    """One `containerize` command line. `build` is an archive's file, or a tag that is kept in `builds_dir`; `ca` is the
    file of the certificates."""

    build: str
    builds_dir: str


class ContainerizeRequest(ImageChoices, frozen=True, kw_only=True):
    """What the image of a build that the daemon keeps is to be; `ca` is the text of the certificates (PEM)."""


class ImageStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what the Docker engine does."""

    step: str


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was made. `size` in bytes, its base included."""

    image: str
    id: str
    size: int


class PushOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="push"):
    """Push `image`; `source` is the local image where it has another name."""

    image: str
    source: str


class PruneRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which unused builds may go: all but the `keep` newest of each name; of them those that were stored more than
    `older_than` seconds ago; and only as many, the oldest first, as bring all archives within `size` bytes."""

    keep: Annotated[int, msgspec.Meta(ge=0)] = 1
    older_than: Annotated[float, msgspec.Meta(ge=0)] | None = None
    size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    dry_run: bool = False


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What went, or would go: tags, and the bytes of their archives."""

    builds: list[str] = []
    bytes: int = 0


class BuiltService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service, as far as people ask about it; the whole of it stands in the archive's `spec.json`."""

    name: str
    service: str
    config: dict[str, Any] = {}
    endpoints: list[str] = []
    dependencies: list[str] = []
    workers: int = 1
    resources: dict[str, Any] = {}


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One locked distribution: name, version, and the hashes that any file of it must have."""

    name: str
    version: str
    hashes: list[str] = []


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A build that is kept under its tag `name:version`.

    `digest` names the content (equal sources give equal digests), `sha256` and `size` the archive's bytes.
    `graph` is the name that it runs under by default. `path` is where the archive stands on the daemon's machine;
    `used_by` are the graphs (`project/name`) with a revision of it.
    """

    tag: str
    name: str
    version: str
    digest: str
    sha256: str
    size: int
    created_at: datetime
    stored_at: datetime
    service: str
    entry: str
    graph: str = ""
    python_version: str
    sdk_version: str = ""
    labels: dict[str, str] = {}
    services: list[BuiltService] = []
    packages: list[Package] = []
    files: int = 0
    source_bytes: int = 0
    path: str = ""
    used_by: list[str] = []
