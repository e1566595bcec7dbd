"""How builds are referred to, and told from graphs in a working tree: `hello:1` may be either."""

from __future__ import annotations

import re
from pathlib import Path

TAG = re.compile(r"(?P<name>[a-z0-9]+(?:[._-][a-z0-9]+)*)(?::(?P<version>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?")
"""`name[:version]`."""
ARCHIVE_SUFFIX = ".tar.gz"


def is_archive(target: str) -> bool:
    """Is it the file of an archive? Looks at the disk."""
    return target.endswith(ARCHIVE_SUFFIX) and Path(target).is_file()


def may_be_tag(target: str, working_dir: str | None) -> bool:
    """It reads as a tag, and where it would be imported from there is no module of that name. Looks at the disk."""
    if not TAG.fullmatch(target):
        return False
    place = Path(working_dir or ".").joinpath(*target.partition(":")[0].split("."))
    return not place.with_name(f"{place.name}.py").is_file() and not place.is_dir()
