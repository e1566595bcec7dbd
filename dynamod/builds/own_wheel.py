"""This very package as a wheel, from what is installed: a build carries the SDK that it was made with.

So a build works where the package index does not have this version (a checkout, a private build), and off
line. The wheel is written by the rules of the format (https://packaging.python.org/specifications/binary-distribution-format/)
and reproducible.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from dynamod.builds.errors import BuildError

NAME = "dynamod"
PACKAGES = ("dynamo", "dynamod", "dynamo_tui")
CONTROL_PLANE = frozenset({"alembic", "click", "httpx", "pathspec", "psutil", "regex", "rich", "sqlalchemy", "textual"})
"""Distributions that nothing under `dynamo` imports; a test holds that."""
LLM = frozenset({"jinja2", "numpy", "tokenizers"})
"""Those that `dynamo.llm` alone imports."""
_NAME = re.compile(r"[^A-Za-z0-9._-]")
_STAMP = (1980, 1, 1, 0, 0, 0)
_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[^'"]+)['"]""")


def file_name() -> str:
    return f"{NAME}-{distribution(NAME).version}-py3-none-any.whl"


def requirements(extras: frozenset[str] = frozenset(), *, llm: bool = True) -> list[str]:
    """What a replica needs of it, for the given extras too; `llm`: it uses `dynamo.llm`.

    The control plane and the front ends run elsewhere: what they alone import would triple an image.
    """
    needless = CONTROL_PLANE if llm else CONTROL_PLANE | LLM
    lines = []
    for line in distribution(NAME).requires or ():
        if _NAME.split(line, maxsplit=1)[0].lower() in needless:
            continue
        wanted = _EXTRA.search(line)
        if wanted is None:
            lines.append(line)
        elif wanted["extra"] in extras:
            requirement, _, marker = line.partition(";")
            rest = re.sub(r"\s*(and\s+)?" + _EXTRA.pattern, "", marker).strip()
            lines.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return lines


def wheel() -> bytes:
    """The wheel's bytes.

    Raises:
        BuildError: the installation is incomplete.
    """
    installed = distribution(NAME)
    info = f"{NAME}-{installed.version}.dist-info"
    contents = dict(_modules())
    contents |= {f"{info}/{name}": data for name, data in _metadata(installed).items()}
    record = io.StringIO()
    for name, data in sorted(contents.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.write(f"{name},sha256={digest},{len(data)}\n")
    record.write(f"{info}/RECORD,,\n")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in [*sorted(contents.items()), (f"{info}/RECORD", record.getvalue().encode())]:
            entry = zipfile.ZipInfo(name, _STAMP)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, data)
    return out.getvalue()


def _metadata(installed: Distribution) -> dict[str, bytes]:
    wanted = {"METADATA": True, "entry_points.txt": True}
    found: dict[str, bytes] = {}
    for name in wanted:
        text = installed.read_text(name)
        if text is None:
            raise BuildError(f"the installation of {NAME} lacks {name}", remedy="install it again")
        found[name] = text.encode()
    found["WHEEL"] = b"Wheel-Version: 1.0\nGenerator: dynamod\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return found


def _modules() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BuildError(f"the package {package} is not installed", remedy=f"install {NAME} again")
        for folder in map(Path, spec.submodule_search_locations):
            yield from _files(folder, package)
    migrations = _migrations()
    if migrations is not None:
        yield from _files(migrations, "dynamod/migrations")


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _migrations() -> Path | None:
    """A checkout keeps the migrations beside the packages; an installed wheel has them inside."""
    spec = importlib.util.find_spec("dynamod")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    beside = package.parent / "migrations"
    return beside if not (package / "migrations").is_dir() and beside.is_dir() else None
