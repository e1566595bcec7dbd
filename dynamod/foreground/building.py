"""`serve` of a build: as if its unpacked sources were the working tree, and its environment the interpreter."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dynamod.schema.locations import default_state_dir, locations
from dynamod.schema.references import is_archive, may_be_tag
from dynamod.schema.serve import ServeOptions

if TYPE_CHECKING:
    from dynamod.builds.layout import Layout


@contextmanager
def unpacked(options: ServeOptions, say: Callable[[str], None]) -> Iterator[ServeOptions]:
    """Options for a target that is a build's tag or an archive; those of any other target as they are.

    Raises:
        EngineError: the build is damaged, or its environment cannot be made.
    """
    archive = _archive_of(options)
    if archive is None:
        yield options
        return
    from dynamod.builds.configure import merged

    layout = _layout(options)
    prepared = layout.prepare(archive, say)
    spec = prepared.archive.spec
    above = None if options.config_file is None else Path(options.config_file).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="dynamo-serve-") as work:
        config = Path(work) / "config.yaml"
        config.write_text(merged(spec, above), encoding="utf-8")
        yield replace(
            options,
            target=spec.target,
            name=options.name or spec.name,
            config_file=str(config),
            working_dir=str(prepared.sources),
            interpreter=str(prepared.interpreter),
        )


def _archive_of(options: ServeOptions) -> Path | None:
    if is_archive(options.target):
        return Path(options.target)
    if options.interpreter or not may_be_tag(options.target, options.working_dir):
        return None
    name, _, version = options.target.partition(":")
    kept = _layout(options).find(name, version or None)
    return kept.path if kept is not None else None


def _layout(options: ServeOptions) -> Layout:
    from dynamod.builds.layout import Layout

    state = Path(options.state_dir) if options.state_dir else default_state_dir(os.environ)
    return Layout(locations(state).builds_dir)
