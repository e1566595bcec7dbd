"""What `serve --dry-run` prints: configuration, graph, GPU plan, and the environment that replicas would get."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.gpu_health import assess
from dynamod.core.gpu_mask import may_allocate, pool
from dynamod.core.preview import preview
from dynamod.core.records import GraphRecord, RevisionRecord
from dynamod.core.steps import World
from dynamod.drivers.identity import owner_of
from dynamod.drivers.nvml import open_nvml
from dynamod.drivers.simulated_gpus import VARIABLE, SimulatedGpus
from dynamod.schema.states import OperationKind


def describe(spec: GraphSpec, environ: Mapping[str, str]) -> str:
    """The whole text, a line end at its end.

    Raises:
        Invalid: the simulated GPUs that the environment asks for cannot be made out.
    """
    config = msgspec.json.encode(spec.config)
    sections = [
        "Service Configuration:\n" + msgspec.json.format(config, indent=2).decode(),
        "Graph:\n" + "\n".join(_graph_lines(spec)),
        "GPU Plan:\n" + "\n".join(_gpu_lines(spec, environ)),
        "Environment Variable that would be set:\nDYNAMO_SERVICE_CONFIG=" + config.decode(),
    ]
    return "\n\n".join(sections) + "\n"


def _graph_lines(spec: GraphSpec) -> list[str]:
    """Services in the order in which they start."""
    return [_service_line(spec.service(name)) for wave in spec.start_order() for name in wave]


def _service_line(service: ServiceSpec) -> str:
    parts = [f"{service.workers} replica{'' if service.workers == 1 else 's'}"]
    if service.dependencies:
        parts.append("calls " + ", ".join(dependency.service for dependency in service.dependencies))
    if service.http_port is not None:
        port = "any free port" if service.http_port == 0 else f"port {service.http_port}"
        parts.append(f"HTTP on {service.http_host}, {port}")
    return f"  {service.name} ({service.namespace}/{service.component_name}): {', '.join(parts)}"


def _gpu_lines(spec: GraphSpec, environ: Mapping[str, str]) -> list[str]:
    """What each service asks for, and which devices each replica would get now, and why."""
    lines = [
        f"  {service.name}: {service.workers} x {service.resources.gpu:g} = {service.workers * service.resources.gpu:g}"
        for service in spec.services
        if service.resources.gpu
    ]
    if not lines:
        return ["  no service asks for a GPU"]
    total = sum(service.workers * service.resources.gpu for service in spec.services)
    lines.append(f"  in all: {total:g}")
    if not may_allocate(environ):
        return [*lines, "  devices are not granted: DYN_DISABLE_AUTO_GPU_ALLOCATION is set"]
    return [*lines, *_placement_lines(spec, environ)]


def _placement_lines(spec: GraphSpec, environ: Mapping[str, str]) -> list[str]:
    """The placement as `serve` itself would make it, on the devices as they are now."""
    simulated = environ.get(VARIABLE, "")
    try:
        readings = (SimulatedGpus(simulated) if simulated else open_nvml()).read()
    except OSError as error:
        return [f"  the devices cannot be read: {error}"]
    readings = pool(readings, environ.get("CUDA_VISIBLE_DEVICES"))
    owners = {process.pid: owner_of(process.pid) for reading in readings for process in reading.processes}
    graph = GraphRecord(
        id="", project="default", name=spec.name, driver="process", revision=1, created_at=0.0, updated_at=0.0
    )
    revision = RevisionRecord(graph_id="", number=1, digest="", spec=spec, created_at=0.0)
    operations, _, _ = preview(World(graph, {1: revision}, (), devices=assess(readings, (), owners).devices), 0.0)
    wanting = {service.name for service in spec.services if service.resources.gpu}
    lines = []
    for operation in operations:
        if operation.service not in wanting:
            continue
        if operation.kind is OperationKind.START:
            label = " (simulated)" if simulated else ""
            where = ", ".join(
                f"GPU {share.index} ({share.uuid}){f', {share.share:g} of it' if share.share < 1 else ''}"
                for share in operation.gpus
            )
            lines.append(f"  {operation.service} #{operation.index}: {where}{label}")
            lines += [f"    {reason}" for reason in operation.placement]
        else:
            lines.append(f"  {operation.service} #{operation.index}: none: {operation.cause}")
    return lines
