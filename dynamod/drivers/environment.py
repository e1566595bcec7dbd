"""What a replica is started with: its command line and environment (see the replica contract)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dynamod.core.errors import Invalid
from dynamod.core.records import ReplicaRecord, RevisionRecord
from dynamod.drivers.base import Container, Launch, LaunchError, Limits
from dynamod.drivers.secrets import revealed
from dynamod.schema.locations import Locations

_OURS = ("DYNAMO_HOST", "DYNAMO_PORT", "DYN_REPLICA_ID", "DYN_REPLICA_RUN", "DYN_DISCOVERY", "DYN_SCOPE", "DYN_RUN_DIR")
"""Never inherited: they are set for each replica, or must be absent."""


@dataclass(frozen=True)
class Surroundings:
    """What is the same for all replicas of an engine. `environ` is what they inherit."""

    where: Locations
    environ: Mapping[str, str]
    discovery_url: str
    request_plane: str = "stream"
    tcp_host: str | None = None


_SOCKETS_NAME = 10
"""Hex digits of a name: a socket's path has little room."""


def sockets_dir(where: Locations, replica_id: str) -> Path:
    """A short path of its own for the Unix sockets of one replica."""
    return where.run_dir / hashlib.sha256(replica_id.encode()).hexdigest()[:_SOCKETS_NAME]


def is_sockets_dir(path: Path) -> bool:
    """Whether this entry of the run directory is one of those."""
    return len(path.name) == _SOCKETS_NAME and set(path.name) <= set("0123456789abcdef") and path.is_dir()


def launch_of(record: ReplicaRecord, revision: RevisionRecord, around: Surroundings, *, gpus: bool) -> Launch:
    """How to start a replica. `gpus`: whether the engine grants devices (else the inherited mask stays).

    A process takes over the engine's environment, and runs in the graph's directory with its interpreter; a
    container has all three in its image.

    Raises:
        LaunchError: a secret that it refers to is not there.
    """
    spec = revision.spec
    resources = spec.service(record.service).resources
    local = record.driver == "process"
    argv = [
        (spec.interpreter or sys.executable) if local else "python",
        "-m",
        "dynamo.sdk.replica",
        spec.target,
        "--service-name",
        record.service,
        "--worker-id",
        str(record.index),
    ]
    return Launch(
        replica_id=record.id,
        run=record.run,
        argv=argv,
        env=_environment(record, revision, around, gpus=gpus, inherited=around.environ if local else {}),
        directory=spec.working_dir if local else "",
        container=None if local else _container(record, revision, around),
        limits=Limits(cpu=resources.cpu, memory=resources.memory) if local else Limits(),
    )


def _container(record: ReplicaRecord, revision: RevisionRecord, around: Surroundings) -> Container:
    """On its graph's network, unless it is reached by TCP from outside of it: where a service has HTTP routes its
    workers, and old and new ones in a roll-out, share one port of the host; and a graph that spans hosts, or meets
    over a server, needs the addresses of this one."""
    service = revision.spec.service(record.service)
    local = around.discovery_url.startswith("unix://") and around.request_plane == "stream" and not around.tcp_host
    return Container(
        network=f"dynamo-{record.graph}-{record.graph_id}" if local and service.http_port is None else None,
        alias=record.service.lower(),
        image=service.image,
        build=revision.build,
        memory=service.resources.memory,
        cpu=service.resources.cpu,
        gpus=tuple(share.uuid for share in record.gpus),
    )


def _environment(
    record: ReplicaRecord,
    revision: RevisionRecord,
    around: Surroundings,
    *,
    gpus: bool,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """What is inherited, then the graph's, the service's, the submission's, then the contract's."""
    spec = revision.spec
    service = spec.service(record.service)
    env = {name: value for name, value in inherited.items() if name not in _OURS}
    env.setdefault("PYTHONUNBUFFERED", "1")
    env |= spec.envs
    env |= service.envs
    env |= revision.envs
    try:
        env = revealed(around.where.secrets_dir, env)
    except Invalid as error:
        raise LaunchError(str(error)) from None
    env |= {
        "DYN_DISCOVERY": around.discovery_url,
        "DYN_SCOPE": f"{record.project}/{record.graph}",
        "DYN_REQUEST_PLANE": around.request_plane,
        "DYN_RUN_DIR": str(sockets_dir(around.where, record.id)),
        "DYN_REPLICA_ID": record.id,
        "DYN_REPLICA_RUN": str(record.run),
        "DYNAMO_SERVICE_CONFIG": msgspec.json.encode(spec.config).decode(),
    }
    if around.tcp_host is not None:
        env["DYN_TCP_HOST"] = around.tcp_host
    if service.http_port is not None:
        env["DYNAMO_HOST"] = service.http_host
        env["DYNAMO_PORT"] = str(service.http_port)
    if gpus:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = ",".join(share.uuid for share in record.gpus)
    return env
