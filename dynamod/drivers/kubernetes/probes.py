"""A service's probes as the kubelet's.

The `sdk` probes ask the replica's system app over HTTP: `/readyz` and `/healthz` say what it would say through
discovery. Kubernetes counts whole seconds and wants one success for start-up and liveness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from dynamo.sdk.spec import ProbeSpec, ServiceSpec
from dynamod.drivers.kubernetes.notes import Note

SYSTEM = "system"
HTTP = "http"
"""Names of container ports."""
_SELF = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - as the host of a probe: the pod itself


def probes(service: ServiceSpec) -> dict[str, dict[str, Any]]:
    """`startupProbe`, `readinessProbe` and, where the service has one, `livenessProbe`."""
    asked = service.probes
    readiness = _handler(asked.readiness, service, "/readyz")
    period = _seconds(asked.readiness.period)
    found = {
        "startupProbe": readiness
        | {
            "periodSeconds": period,
            "timeoutSeconds": _seconds(asked.readiness.timeout),
            "failureThreshold": max(1, math.ceil(asked.startup_timeout / period)),
        },
        "readinessProbe": readiness | _pace(asked.readiness, successes=max(1, asked.readiness.success_threshold)),
    }
    if asked.liveness is not None:
        found["livenessProbe"] = _handler(asked.liveness, service, "/healthz") | _pace(asked.liveness, successes=1)
    return found


def notes(service: ServiceSpec) -> Iterator[Note]:
    """What of the probes cannot be said."""
    for name, probe in (("readiness", service.probes.readiness), ("liveness", service.probes.liveness)):
        if probe is None:
            continue
        where = f"services.{service.name}.probes.{name}"
        if probe.kind == "log":
            yield Note(
                field=f"{where}.kind",
                reason="the kubelet does not read a container's output",
                instead="the replica's own report over HTTP is asked",
            )
        if probe.kind == "exec":
            yield Note(
                field=f"{where}.kind",
                reason="the command runs inside the container, through its `sh`",
                instead="an exec probe; the image must hold the command",
            )
        if probe.kind == "http" and _http(probe, service) is None:
            yield Note(
                field=f"{where}.target",
                reason=f"{probe.target!r} names no port, and the service has none of its own",
                instead="the replica's own report over HTTP is asked",
            )
        if probe.kind == "tcp" and _port(probe.target) is None:
            yield Note(
                field=f"{where}.target",
                reason=f"{probe.target!r} is no port of the pod",
                instead="the replica's own report over HTTP is asked",
            )
        for word in ("period", "timeout", "initial_delay"):
            value = getattr(probe, word)
            if value != int(value):
                yield Note(
                    field=f"{where}.{word}", reason="Kubernetes counts whole seconds", instead=f"{math.ceil(value)} s"
                )
        if name == "liveness" and probe.success_threshold != 1:
            yield Note(
                field=f"{where}.success_threshold",
                reason="Kubernetes wants exactly one success for liveness",
                instead="1",
            )


def _handler(probe: ProbeSpec, service: ServiceSpec, system_path: str) -> dict[str, Any]:
    by_system_app = {"httpGet": {"path": system_path, "port": SYSTEM, "scheme": "HTTP"}}
    if probe.kind == "http":
        return _http(probe, service) or by_system_app
    if probe.kind == "tcp":
        port = _port(probe.target)
        return by_system_app if port is None else {"tcpSocket": {"port": port}}
    if probe.kind == "exec":
        return {"exec": {"command": ["sh", "-c", probe.target]}}
    return by_system_app


def _http(probe: ProbeSpec, service: ServiceSpec) -> dict[str, Any] | None:
    try:
        url = urlsplit(probe.target)
        port = url.port
    except ValueError:
        return None
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not path.startswith("/"):
        return None
    if not url.scheme:
        return None if service.http_port is None else {"httpGet": {"path": path, "port": HTTP, "scheme": "HTTP"}}
    if url.scheme not in ("http", "https"):
        return None
    get: dict[str, Any] = {
        "path": path,
        "port": port or (443 if url.scheme == "https" else 80),
        "scheme": url.scheme.upper(),
    }
    if (url.hostname or "") not in _SELF:
        get["host"] = url.hostname
    return {"httpGet": get}


def _port(target: str) -> int | None:
    host, _, port = target.rpartition(":")
    if host.strip("[]") not in _SELF or not port.isascii() or not port.isdigit():
        return None
    return int(port) if 1 <= int(port) <= 65535 else None


def _pace(probe: ProbeSpec, *, successes: int) -> dict[str, Any]:
    return {
        "initialDelaySeconds": max(0, math.ceil(probe.initial_delay)),
        "periodSeconds": _seconds(probe.period),
        "timeoutSeconds": _seconds(probe.timeout),
        "failureThreshold": max(1, probe.failure_threshold),
        "successThreshold": successes,
    }


def _seconds(value: float) -> int:
    return max(1, math.ceil(value))
