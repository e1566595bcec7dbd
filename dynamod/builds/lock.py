"""The lock file of a build: every distribution that its environment needs, pinned and with hashes.

What is wanted comes from the project, `requirements.txt` or else the dependencies in `pyproject.toml`, and
from this package, which a build carries along and which therefore stands for its own requirements. uv
resolves it; where uv is not there, pip does, more slowly.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynamod.builds import own_wheel
from dynamod.builds.errors import BadSources, LockFailed
from dynamod.schema.builds import Package

TIMEOUT_S = 600.0
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_OURS = re.compile(r"^\s*(?:dynamod|ai-dynamo)\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?:[=<>!~;@ ].*)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Lock:
    """`text` is in pip's requirements format. `resolver` is `uv`, `pip` or `cache`."""

    text: str
    resolver: str

    @property
    def packages(self) -> list[Package]:
        return parse(self.text)

    @property
    def digest(self) -> str:
        """What names the environment made of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def wanted(root: Path, *, llm: bool = True) -> str:
    """The direct requirements, as text in pip's format.

    A line that asks for this package (or for the one whose SDK it succeeds) is replaced by what a replica needs
    of it; `llm`: the graph uses `dynamo.llm`.

    Raises:
        BadSources: the project's files cannot be read.
    """
    requirements, project = root / "requirements.txt", root / "pyproject.toml"
    try:
        if requirements.is_file():
            text = requirements.read_text(encoding="utf-8")
        elif project.is_file():
            table = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
            text = "\n".join(table.get("dependencies", []))
        else:
            text = ""
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSources(f"cannot read the requirements: {error}", field="requirements") from None
    extras: set[str] = set()
    lines = []
    for line in text.splitlines():
        if ours := _OURS.match(line):
            extras |= {extra.strip().lower() for extra in (ours["extras"] or "").split(",") if extra.strip()}
        elif line.strip():
            lines.append(line)
    return "\n".join([*lines, *own_wheel.requirements(frozenset(extras), llm=llm)]) + "\n"


def make(wanted_text: str, *, python: str, cache: Path, extra: Sequence[str] = ()) -> Lock:
    """Resolve, or take an earlier resolution of the same question from `cache`.

    Args:
        python: `3.11`, the version that it must hold for.
        extra: further options of the resolver, e.g. `--find-links DIR`.

    Raises:
        LockFailed: it cannot be resolved; the message ends with the resolver's own words.
    """
    question = hashlib.sha256("\0".join([wanted_text, python, sys.platform, *extra]).encode()).hexdigest()
    known = cache / f"{question}.lock"
    if known.is_file():
        return Lock(known.read_text(encoding="utf-8"), "cache")
    uv = find_uv()
    text = _with_uv(uv, wanted_text, python, extra) if uv else _with_pip(wanted_text, extra)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache, delete=False, encoding="utf-8") as out:
        out.write(text)
    Path(out.name).replace(known)
    return Lock(text, "uv" if uv else "pip")


def find_uv() -> str | None:
    """The uv beside this interpreter, on the path, or as a package."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return str(beside)
    if found := shutil.which("uv"):
        return found
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        return str(find_uv_bin())
    return None


def _with_uv(uv: str, wanted_text: str, python: str, extra: Sequence[str]) -> str:
    command = [
        *(uv, "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--python-version", python, *extra),
    ]
    return _run(command, wanted_text)


def _with_pip(wanted_text: str, extra: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "wanted.txt"
        file.write_text(wanted_text, encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *("--disable-pip-version-check", "--report", "-", "-r", str(file), *extra),
        ]
        report = json.loads(_run(command, ""))
    lines = []
    for item in report["install"]:
        name, found = item["metadata"]["name"], item["metadata"]["version"]
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        lines.append(f"{name.lower()}=={found}" + "".join(f" --hash={kind}:{value}" for kind, value in hashes.items()))
    return "\n".join(sorted(lines)) + "\n"


def _run(command: Sequence[str], stdin: str) -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        raise LockFailed(f"{command[0]} did not resolve the requirements in {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise LockFailed(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-600:]
        raise LockFailed(f"the requirements cannot be resolved: {words}", field="requirements")
    return done.stdout


def parse(text: str) -> list[Package]:
    """The packages of a lock file, by name."""
    packages = []
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        found = _PINNED.match(line.strip())
        if found:
            packages.append(
                Package(name=found["name"].lower(), version=found["version"], hashes=sorted(_HASH.findall(line)))
            )
    return sorted(packages, key=lambda one: one.name)
