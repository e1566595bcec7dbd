"""All checks in order, and the report that is made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from dynamod.doctor import gpus, limits, ports, services, sockets, state, versions
from dynamod.schema.doctor import Finding, Verdict
from dynamod.schema.locations import Locations


def examine(where: Locations, environ: Mapping[str, str], *, more_ports: Sequence[int] = ()) -> Iterator[Finding]:
    """Look at the machine. Nothing is changed, started or left behind."""
    yield versions.check_python(tuple(sys.version_info[:3]), sys.executable)
    yield versions.check_packages()
    yield from versions.check_extras(environ, gpus=gpus.driver_loaded())
    yield versions.check_bytecode(environ)
    yield state.check_directory(where)
    yield state.check_disk(where)
    yield state.check_clock(where)
    yield sockets.check_run_directory(where)
    yield sockets.check_daemon(where)
    yield sockets.check_stale_sockets(where)
    for port in dict.fromkeys((ports.usual_port(environ), *more_ports)):
        yield ports.check_port(port)
    yield limits.check_open_files()
    yield gpus.check_gpus(environ)
    yield services.check_docker(environ)
    yield from services.check_settings(environ)


def is_well(findings: Iterable[Finding]) -> bool:
    """Nothing failed. Warnings are no illness."""
    return all(finding.verdict is not Verdict.FAIL for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.value:<4}  {finding.name:<{width}}  {finding.what}")
        if finding.remedy:
            lines.append(f"{'':<{width + 6}}  -> {finding.remedy}")
    bad = [finding.name for finding in findings if finding.verdict is Verdict.FAIL]
    lines.append(f"{len(bad)} to mend: {', '.join(bad)}" if bad else "nothing to mend")
    return "\n".join(lines) + "\n"


def as_json(findings: Sequence[Finding]) -> str:
    return msgspec.json.format(msgspec.json.encode(findings), indent=2).decode() + "\n"
