"""Small archives for tests, without an interpreter or an index being asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dynamo.sdk.spec import GraphSpec, ServiceSpec, encode
from dynamod.builds import archive, sources
from dynamod.builds.manifest import Manifest

SPEC = GraphSpec(name="g", target="m:A", entry="A", services=(ServiceSpec(name="A", target="m:A"),))
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_archive(
    directory: Path,
    files: Mapping[str, str],
    *,
    name: str = "g",
    version: str = "1",
    spec: GraphSpec = SPEC,
    python: str = THIS_PYTHON,
) -> Path:
    """An archive of these sources in `directory`."""
    root = directory / f"{name}-{version}-project"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    chosen = sources.select(root, sources.SourceRules())
    documents = {archive.SPEC: encode(spec), archive.LOCK: b"", archive.DOCKERFILE: b"FROM scratch\n"}
    manifest = Manifest(
        service=spec.target,
        name=name,
        version=version,
        digest=archive.parts_digest(chosen, documents),
        creation_time=datetime(2026, 1, 1, tzinfo=UTC),
        entry_service=spec.entry,
        python_version=python,
    )
    made = directory / f"{name}-{version}.tar.gz"
    archive.write(made, root, chosen, manifest, documents)
    return made
