"""`GraphSpec`: a graph of services as plain data.

It is the contract between whoever writes services and whatever runs them. The SDK derives it from
`module:Class` in the graph's own interpreter; planners, drivers and archives see nothing else. This
module imports msgspec and the standard library only, so that any program can read a spec.

Units: memory in bytes, CPU in cores, GPUs in devices (a fraction shares one), times in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

import msgspec

SPEC_VERSION = 1

EndpointKind = Literal["unary", "stream"]
"""`unary`: a coroutine, one item. `stream`: an async generator, any number of items."""

ProbeKind = Literal["sdk", "http", "tcp", "exec", "log"]
"""`sdk`: the replica reports itself (start hooks done, health handlers, model ready) through discovery."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises on bytes that others have made: not JSON, not UTF-8, or nested without end."""


class SpecError(ValueError):
    """A spec that cannot be read or contradicts itself. The message names the field."""


class ResourceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one replica asks for."""

    cpu: float | None = None
    memory: int | None = None
    gpu: float = 0.0
    custom: dict[str, str] = {}


class HttpRoute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an endpoint is served over HTTP."""

    method: str = "POST"
    path: str


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint of a service. `request_schema` is the JSON schema of its request type, where it has one."""

    name: str
    kind: EndpointKind
    dynamo: bool = True
    http: HttpRoute | None = None
    request_schema: dict[str, Any] | None = None


class DependencySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An edge: the attribute that holds the client, and the name of the service it leads to."""

    attribute: str
    service: str


class ProbeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to ask a replica for its state.

    `target` by kind: `http` a path on the replica's port (or a full URL), `tcp` a port, `exec` a command
    line, `log` a regular expression over its output, `sdk` nothing.
    """

    kind: ProbeKind = "sdk"
    target: str = ""
    initial_delay: float = 0.0
    period: float = 2.0
    timeout: float = 5.0
    failure_threshold: int = 3
    success_threshold: int = 1


class ProbesSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`startup_timeout` bounds the time from spawn to the first success of `readiness`; model loads need long ones."""

    startup_timeout: float = 1800.0
    readiness: ProbeSpec = ProbeSpec()
    liveness: ProbeSpec | None = ProbeSpec()


class RestartSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Restart policy: at most `attempts` in any `window`; the delay doubles from `delay` to `max_delay`, jittered."""

    attempts: int = 10
    window: float = 600.0
    delay: float = 0.5
    max_delay: float = 60.0


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of a graph.

    `target` is `module:Class`, importable in the graph's interpreter from its working directory.
    `config` holds the service's own keys (what `ServiceConfig` gives), without `ServiceArgs`.
    `http_port` is the port asked for by a service with HTTP routes: a number, 0 for any free one, or
    None for a service without HTTP.
    """

    name: str
    target: str
    namespace: str = "default"
    component: str = ""
    dynamo: bool = True
    component_type: str | None = None
    lease_ttl: float | None = None
    endpoints: tuple[EndpointSpec, ...] = ()
    dependencies: tuple[DependencySpec, ...] = ()
    workers: int = 1
    resources: ResourceSpec = ResourceSpec()
    envs: dict[str, str] = {}
    image: str | None = None
    labels: dict[str, str] = {}
    config: dict[str, Any] = {}
    http_port: int | None = None
    http_host: str = "0.0.0.0"  # noqa: S104 - the documented default of `serve`
    probes: ProbesSpec = ProbesSpec()
    restart: RestartSpec = RestartSpec()
    drain_timeout: float = 30.0
    on_deployment: bool = False
    kubernetes_overrides: dict[str, Any] = {}
    extra: dict[str, Any] = {}

    @property
    def component_name(self) -> str:
        return self.component or self.name

    def endpoint(self, name: str) -> EndpointSpec | None:
        return next((e for e in self.endpoints if e.name == name), None)


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole graph.

    `config` is the merged configuration by service, exactly what replicas read from
    `DYNAMO_SERVICE_CONFIG`. `interpreter` and `working_dir` say where the classes can be imported;
    both are empty in an archive, where the environment is built from the lock file instead.
    """

    version: int = SPEC_VERSION
    name: str
    target: str
    entry: str
    namespace: str = "default"
    services: tuple[ServiceSpec, ...]
    config: dict[str, dict[str, Any]] = {}
    envs: dict[str, str] = {}
    interpreter: str = ""
    working_dir: str = ""
    python_version: str = ""
    sdk_version: str = ""

    def service(self, name: str) -> ServiceSpec:
        """The service of that name.

        Raises:
            SpecError: there is none; the message lists what there is.
        """
        for service in self.services:
            if service.name == name:
                return service
        raise SpecError(f"graph {self.name!r} has no service {name!r}; it has {', '.join(self.service_names())}")

    def service_names(self) -> list[str]:
        return [s.name for s in self.services]

    def start_order(self) -> list[list[str]]:
        """Services in waves: each wave depends on earlier ones only. Stop in the reverse order.

        Raises:
            SpecError: the dependencies form a cycle.
        """
        sorter = TopologicalSorter({s.name: {d.service for d in s.dependencies} for s in self.services})
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = " -> ".join(str(name) for name in error.args[1])
            raise SpecError(f"graph {self.name!r}: services depend on each other in a cycle: {cycle}") from None
        waves: list[list[str]] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            waves.append(ready)
            sorter.done(*ready)
        return waves

    def digest(self) -> str:
        """SHA-256 (hex) over the canonical JSON form: equal specs have equal digests on any machine."""
        return hashlib.sha256(encode(self)).hexdigest()

    def problems(self) -> Iterator[str]:
        """What is wrong with it, one clear line each; nothing when it is sound."""
        if self.version != SPEC_VERSION:
            yield f"version: this program reads version {SPEC_VERSION}, not {self.version}; upgrade the older side"
        names = self.service_names()
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield f"services: two services are named {name!r}; give one of them another name"
        if self.entry not in names:
            yield f"entry: {self.entry!r} is not a service of this graph; it has {', '.join(names) or 'none'}"
        for service in self.services:
            where = f"services.{service.name}"
            for dependency in service.dependencies:
                if dependency.service not in names:
                    yield f"{where}.dependencies.{dependency.attribute}: there is no service {dependency.service!r}"
            if service.workers < 0:
                yield f"{where}.workers: must be 0 or more, not {service.workers}"
            gpu = service.resources.gpu
            if gpu < 0 or (gpu > 1 and gpu != int(gpu)):
                yield f"{where}.resources.gpu: a whole number or a fraction below 1, not {gpu}"
        try:
            self.start_order()
        except SpecError as error:
            yield str(error)


def encode(spec: GraphSpec) -> bytes:
    """The canonical JSON form: keys sorted, no white space."""
    return msgspec.json.encode(spec, order="deterministic")


def decode(data: bytes | str) -> GraphSpec:
    """Read a spec from JSON and check it.

    Raises:
        SpecError: not JSON, not a spec, or a spec that contradicts itself.
    """
    try:
        spec = msgspec.json.decode(data, type=GraphSpec)
    except UNREADABLE as error:
        raise SpecError(f"not a graph spec: {error}") from None
    return checked(spec)


def checked(spec: GraphSpec) -> GraphSpec:
    """The same spec, or SpecError with its first problem."""
    for problem in spec.problems():
        raise SpecError(problem)
    return spec


def json_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of a GraphSpec."""
    return msgspec.json.schema(GraphSpec)
