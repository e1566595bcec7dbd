"""Python and the packages: are those there that this one was made for?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding

OLDEST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?>=(?P<version>[0-9.]+)(?P<marker>;.*)?")
_EXTRA = re.compile(r"extra == ['\"](?P<extra>[\w-]+)['\"]")


def check_python(version: tuple[int, ...], executable: str) -> Finding:
    text = f"{'.'.join(map(str, version[:3]))}, {executable}"
    if version < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return fail("python", text, f"install Python {wanted} or newer, and dynamod into an environment of it")
    return ok("python", text)


def check_packages(required: Sequence[str] | None = None) -> Finding:
    """Every dependency is installed and not older than we ask for. `required` as the package's metadata have it."""
    requirements = metadata.requires("dynamod") or [] if required is None else required
    wanted = list(_lower_bounds(requirements, extra=None))
    wrong = list(_unmet(wanted))
    if wrong:
        return fail("packages", ", ".join(wrong), "install it again: pip install --upgrade dynamod")
    return ok("packages", f"dynamod {metadata.version('dynamod')} and the {len(wanted)} packages it needs")


def check_extra(
    extra: str, purpose: str, *, needed: bool, because: str = "", required: Sequence[str] | None = None
) -> Finding:
    """An optional part: its absence matters only where `needed`; `because` names what asks for it."""
    requirements = metadata.requires("dynamod") or [] if required is None else required
    wrong = list(_unmet(_lower_bounds(requirements, extra=extra)))
    name = f"extra {extra}"
    if not wrong:
        return ok(name, f"installed ({purpose})")
    what = f"{', '.join(wrong)} ({purpose})"
    remedy = f"pip install 'dynamod[{extra}]'"
    return fail(name, f"{what}, and {because}", remedy) if needed else ok(name, f"{what}; not needed here")


def check_extras(environ: Mapping[str, str], *, gpus: bool) -> Iterator[Finding]:
    """The extras that this environment may ask for. `gpus`: an NVIDIA driver is loaded."""
    discovery = environ.get("DYN_DISCOVERY", "")
    etcd = discovery.startswith(("etcd://", "etcds://")) or (not discovery and bool(environ.get("ETCD_ENDPOINTS")))
    yield check_extra("etcd", "discovery across hosts", needed=etcd, because="discovery is etcd")
    nats = environ.get("DYN_REQUEST_PLANE") == "nats"
    yield check_extra("nats", "requests over NATS", needed=nats, because="DYN_REQUEST_PLANE is nats")
    yield check_extra("gpu", "GPU inventory", needed=gpus, because="an NVIDIA driver is loaded")


def check_bytecode(environ: Mapping[str, str]) -> Finding:
    """Without byte code on disk, every start of every replica compiles each module again."""
    if environ.get("PYTHONDONTWRITEBYTECODE"):
        return warn(
            "byte code",
            "PYTHONDONTWRITEBYTECODE is set: what was never compiled is compiled again at every start",
            "unset it, or compile once: python -m compileall -q <the packages' directory>",
        )
    return ok("byte code", "Python may keep it")


def _lower_bounds(requirements: Sequence[str], *, extra: str | None) -> Iterator[tuple[str, str]]:
    """Name and least version of what is required plainly, or by an extra."""
    for line in requirements:
        match = _REQUIREMENT.fullmatch(line.strip())
        if match is None:
            continue
        marked = _EXTRA.search(match["marker"] or "")
        if (marked["extra"] if marked else None) == extra:
            yield match["name"], match["version"]


def _unmet(wanted: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> Iterator[str]:
    for name, least in wanted:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"{name} is not installed"
            continue
        if _numbers(found) < _numbers(least):
            yield f"{name} is {found}, {least} or newer is needed"


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers alone: enough to compare with a lower bound."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else []
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 2.0 is no older than 2.0.0
    return tuple(numbers)
