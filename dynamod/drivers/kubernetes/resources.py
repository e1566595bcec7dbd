"""What a replica asks for, as a container's requests and limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from dynamo.sdk.spec import ServiceSpec
from dynamod.drivers.kubernetes.notes import Note
from dynamod.drivers.kubernetes.options import KubernetesOptions

_EXTENDED = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\.[a-z]+/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_WHOLE = re.compile(r"[0-9]{1,9}")


def resources(service: ServiceSpec, options: KubernetesOptions) -> dict[str, Any]:
    """`requests` and `limits`.

    CPU is requested and not limited: a limit throttles bursts of tokenisation that idle cores could serve.
    Memory has the same figure for both, so that the node never promises what it lacks.
    """
    asked = service.resources
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if asked.cpu is not None and asked.cpu > 0:
        requests["cpu"] = _cores(asked.cpu)
    if asked.memory is not None and asked.memory > 0:
        requests["memory"] = limits["memory"] = str(asked.memory)
    if asked.gpu > 0:
        name, count = gpus(asked.gpu, options)
        limits[name] = str(count)
    limits |= {name: value for name, value in asked.custom.items() if _is_extended(name, value)}
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def gpus(asked: float, options: KubernetesOptions) -> tuple[str, int]:
    """The resource that is asked for, and how many of it."""
    if asked < 1 and options.gpu_share_resource is not None:
        return options.gpu_share_resource, 1
    return options.gpu_resource, math.ceil(asked)


def notes(service: ServiceSpec, options: KubernetesOptions) -> Iterator[Note]:
    """What of it cannot be said."""
    where = f"services.{service.name}.resources"
    asked = service.resources
    if 0 < asked.gpu < 1:
        name, _ = gpus(asked.gpu, options)
        shared = name == options.gpu_share_resource
        yield Note(
            field=f"{where}.gpu",
            reason="Kubernetes grants devices whole",
            instead=f"one {name}, whatever share of a device that is" if shared else "a whole device",
        )
    for name, value in asked.custom.items():
        if not _is_extended(name, value):
            yield Note(
                field=f"{where}.custom.{name}",
                reason="an extended resource is called domain/name and counts in whole numbers",
                instead="left out",
            )


def _is_extended(name: str, value: str) -> bool:
    return _EXTENDED.fullmatch(name) is not None and _WHOLE.fullmatch(value) is not None


def _cores(cpu: float) -> str:
    return str(int(cpu)) if cpu == int(cpu) else f"{max(1, math.ceil(cpu * 1000))}m"
