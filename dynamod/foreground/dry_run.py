"""What `serve --dry-run` prints: configuration, graph, GPU plan, and the environment that replicas would get."""

from __future__ import annotations

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec


def describe(spec: GraphSpec) -> str:
    """The whole text, a line end at its end."""
    config = msgspec.json.encode(spec.config)
    sections = [
        "Service Configuration:\n" + msgspec.json.format(config, indent=2).decode(),
        "Graph:\n" + "\n".join(_graph_lines(spec)),
        "GPU Plan:\n" + "\n".join(_gpu_lines(spec)),
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


def _gpu_lines(spec: GraphSpec) -> list[str]:
    """What each service asks for; which devices serve it is decided when it starts."""
    lines = [
        f"  {service.name}: {service.workers} x {service.resources.gpu:g} = {service.workers * service.resources.gpu:g}"
        for service in spec.services
        if service.resources.gpu
    ]
    total = sum(service.workers * service.resources.gpu for service in spec.services)
    return [*lines, f"  in all: {total:g}"] if lines else ["  no service asks for a GPU"]
