"""`dynamo.yaml`: what an archive says about itself, for people and for programs."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

import msgspec
import yaml

from dynamo.sdk.spec import GraphSpec
from dynamod.builds.errors import BadArchive, BuildError
from dynamod.schema.builds import Build, BuiltService, Package
from dynamod.schema.references import TAG

FORMAT = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`digest` names the content (sources, lock file, spec): equal sources give equal digests on any machine.

    `creation_time` and `version` are not part of it.
    """

    format: int = FORMAT
    service: str
    name: str
    version: str
    digest: str
    creation_time: datetime
    entry_service: str
    graph: str = ""
    python_version: str
    sdk_version: str = ""
    labels: dict[str, str] = {}
    envs: dict[str, str] = {}
    services: list[BuiltService] = []
    packages: list[Package] = []
    files: int = 0
    source_bytes: int = 0

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"


def split_tag(tag: str) -> tuple[str, str | None]:
    """`name[:version]`.

    Raises:
        BuildError: it is no tag; the message says what one looks like.
    """
    found = TAG.fullmatch(tag)
    if found is None:
        raise BuildError(
            f"{tag!r} is no tag", field="tag", remedy="write name:version, in lower case, e.g. hello-world:1.0"
        )
    return found["name"], found["version"]


def default_name(graph: str) -> str:
    """A graph's name as the name of its builds: lower case, without what tags may not hold."""
    return re.sub(r"[^a-z0-9]+", "-", graph.lower()).strip("-") or "graph"


def portable(spec: GraphSpec) -> GraphSpec:
    """The spec without what holds on one machine only."""
    return msgspec.structs.replace(spec, interpreter="", working_dir="")


def content_digest(parts: dict[str, str]) -> str:
    """One digest (hex) over the digests of all parts, by path: what the build *is*."""
    whole = hashlib.sha256()
    for path, digest in sorted(parts.items()):
        whole.update(f"{digest}  {path}\n".encode())
    return whole.hexdigest()


def services_of(spec: GraphSpec) -> list[BuiltService]:
    return [
        BuiltService(
            name=service.name,
            service=service.target,
            config=service.config,
            endpoints=[endpoint.name for endpoint in service.endpoints],
            dependencies=[dependency.service for dependency in service.dependencies],
            workers=service.workers,
            resources=msgspec.to_builtins(service.resources),
        )
        for service in spec.services
    ]


def to_yaml(manifest: Manifest) -> bytes:
    text = yaml.safe_dump(msgspec.to_builtins(manifest), sort_keys=False, allow_unicode=True, width=120)
    return str(text).encode()


def from_yaml(data: bytes) -> Manifest:
    """Read `dynamo.yaml`.

    Raises:
        BadArchive: it is no manifest, or one of a newer format.
    """
    try:
        document = yaml.safe_load(data)
        if isinstance(document, dict) and document.get("format", FORMAT) != FORMAT:
            raise BadArchive(
                f"this archive has format {document['format']}, and this program reads {FORMAT}",
                remedy="upgrade dynamod, or build again",
            )
        return msgspec.convert(document, Manifest)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadArchive(f"dynamo.yaml: {' '.join(str(error).split())}") from None


def default_version(digest: str) -> str:
    """The version of a build that was given none."""
    return digest[:12]


def build_of(manifest: Manifest, checksum: str, size: int) -> Build:
    """A manifest as the API shows it."""
    return Build(
        tag=manifest.tag,
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        sha256=checksum,
        size=size,
        created_at=manifest.creation_time,
        stored_at=manifest.creation_time,
        service=manifest.service,
        entry=manifest.entry_service,
        graph=manifest.graph,
        python_version=manifest.python_version,
        sdk_version=manifest.sdk_version,
        labels=manifest.labels,
        services=manifest.services,
        packages=manifest.packages,
        files=manifest.files,
        source_bytes=manifest.source_bytes,
    )
