"""`Graph`: the services behind a target, configured, and as the plain data of a `GraphSpec`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from dynamo.sdk import options
from dynamo.sdk.config import COMMON, COMMON_KEYS, SERVICE_ARGS, Config, Source, merged, own_keys
from dynamo.sdk.endpoints import Endpoint
from dynamo.sdk.errors import ConfigError, GraphError, nearest
from dynamo.sdk.hooks import Hook, hook_names
from dynamo.sdk.linking import LinkedServices
from dynamo.sdk.loader import load
from dynamo.sdk.services import Service
from dynamo.sdk.spec import (
    DependencySpec,
    EndpointSpec,
    GraphSpec,
    HttpRoute,
    ServiceSpec,
    SpecError,
    checked,
)

DEFAULT_HTTP_PORT = 8000
DEFAULT_HTTP_HOST = "0.0.0.0"  # noqa: S104 - the documented default of `serve`


@dataclass
class Graph:
    """The services that a target reaches, after links; the first one is the entry.

    `known` are the names that a configuration may mention: services of this graph and those beside it in
    the same modules, which other graphs use.
    """

    name: str
    target: str
    working_dir: Path
    services: list[Service[Any]]
    known: frozenset[str] = frozenset()
    config: Config = field(default_factory=dict)

    @classmethod
    def load(cls, target: str, *, working_dir: Path | None = None, name: str | None = None) -> Graph:
        """Import a target and follow its links.

        Raises:
            SdkError: the target leads nowhere, or its services do not form a graph. One line.
        """
        root = (working_dir or Path.cwd()).expanduser().resolve()
        loaded = load(target, root)
        graph_name = name or loaded.module.__name__.rpartition(".")[2].replace("_", "-").lower()
        return cls._around(loaded.service, {loaded.module.__name__}, graph_name, loaded.target, root)

    @classmethod
    def of(cls, entry: Service[Any], *, name: str | None = None) -> Graph:
        """The graph of a service that is imported already.

        Raises:
            SdkError: its services do not form a graph. One line.
        """
        return cls._around(entry, set(), name or entry.name.lower(), entry.import_path, Path.cwd())

    @classmethod
    def _around(cls, entry: Service[Any], modules: set[str], name: str, target: str, working_dir: Path) -> Graph:
        known = _known_names(entry, modules)
        LinkedServices.remove_unused_edges()
        services = entry.reachable()
        _check_services(services)
        return cls(name, target, working_dir, services, known)

    @property
    def entry(self) -> Service[Any]:
        return self.services[0]

    def service(self, name: str) -> Service[Any]:
        """The service of that name.

        Raises:
            GraphError: there is none; the message names the nearest.
        """
        for service in self.services:
            if service.name == name:
                return service
        names = [service.name for service in self.services]
        raise GraphError(f"{self.target}: there is no service {name!r} in this graph{nearest(name, names)}")

    def configure(self, sources: Sequence[Source]) -> None:
        """Lay configuration over what the decorators say; later sources win.

        Raises:
            ConfigError: a service or a key that does not exist, or a value that makes no sense. The message
                names the source, the service and the key.
        """
        for source in sources:
            self._check_source(source)
        self.config = _plain(merged(list(sources)))
        for source in sources:
            self._check_common_keys(source)
        for service in self.services:
            service.configure(self.config.get(service.name, {}).get(SERVICE_ARGS) or {})

    def _check_source(self, source: Source) -> None:
        known = self.known | {service.name for service in self.services}
        for name, section in source.config.items():
            if name == COMMON:
                continue
            if name not in known:
                raise ConfigError(
                    f"there is no service of that name{nearest(name, known | {COMMON})}", where=source.where, key=name
                )
            keys = section.get(COMMON_KEYS)
            if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
                raise ConfigError(
                    f"must be a list of keys of {COMMON}, not {keys!r}",
                    where=source.where,
                    key=f"{name}.{COMMON_KEYS}",
                )
            path = f"{name}.{SERVICE_ARGS}"
            try:
                options.build(options.normalise(section.get(SERVICE_ARGS) or {}, where=path, strict=True), where=path)
            except ConfigError as error:
                raise ConfigError(str(error), where=source.where) from None

    def _check_common_keys(self, source: Source) -> None:
        """A key that `Common` lacks is left out silently only if nothing there looks like it."""
        common = self.config.get(COMMON, {})
        for name, section in source.config.items():
            for key in section.get(COMMON_KEYS) or ():
                if key not in common and (close := get_close_matches(key, common, n=1, cutoff=0.75)):
                    raise ConfigError(
                        f"{key!r} is no key of {COMMON}; did you mean {close[0]!r}?",
                        where=source.where,
                        key=f"{name}.{COMMON_KEYS}",
                    )

    def spec(
        self,
        *,
        http_port: int = DEFAULT_HTTP_PORT,
        http_host: str = DEFAULT_HTTP_HOST,
        only: str | None = None,
    ) -> GraphSpec:
        """The graph as plain data.

        Args:
            http_port: for the first service that serves HTTP; the others take any free one, unless they
                name their own.
            only: leave out every service but this one, whose dependencies run elsewhere.

        Raises:
            GraphError: the services depend on each other in a cycle.
        """
        chosen = [self.service(only)] if only else self.services
        front = next((service for service in chosen if service.serves_http), None)
        specs = tuple(
            self._service_spec(
                service, port=http_port if service is front else 0, host=http_host, with_edges=only is None
            )
            for service in chosen
        )
        try:
            return checked(
                GraphSpec(
                    name=self.name,
                    target=self.target,
                    entry=chosen[0].name,
                    namespace=chosen[0].dynamo_address()[0],
                    services=specs,
                    config=self.config,
                    interpreter=sys.executable,
                    working_dir=str(self.working_dir),
                    python_version=".".join(str(part) for part in sys.version_info[:3]),
                    sdk_version=_sdk_version(),
                )
            )
        except SpecError as error:
            raise GraphError(f"{self.entry.source}: {error}") from None

    def _service_spec(self, service: Service[Any], *, port: int, host: str, with_edges: bool) -> ServiceSpec:
        said = service.config
        namespace, component = service.dynamo_address()
        asked = said.http_port if said.http_port is not None else port
        return ServiceSpec(
            name=service.name,
            target=service.import_path,
            namespace=namespace,
            component=component,
            dynamo=said.dynamo.enabled,
            component_type=said.dynamo.component_type,
            lease_ttl=said.dynamo.custom_lease.ttl if said.dynamo.custom_lease else None,
            endpoints=tuple(_endpoint_spec(endpoint) for endpoint in service.get_endpoints().values()),
            dependencies=tuple(
                DependencySpec(attribute=attribute, service=edge.on.name)
                for attribute, edge in service.dependencies.items()
                if with_edges
            ),
            workers=said.workers,
            resources=said.resources.spec,
            envs=said.envs,
            image=said.image,
            labels=said.labels,
            config=own_keys(self.config, service.name),
            http_port=asked if service.serves_http else None,
            http_host=said.http_host or host,
            probes=said.probes,
            restart=said.restart,
            drain_timeout=said.drain_timeout,
            on_deployment=bool(hook_names(service.inner, Hook.DEPLOYMENT)),
            kubernetes_overrides=said.kubernetes_overrides,
            extra={key: _plain_or_text(value) for key, value in said.extra.items()},
        )


def _endpoint_spec(endpoint: Endpoint) -> EndpointSpec:
    schema_of = getattr(endpoint.request_type, "model_json_schema", None)
    return EndpointSpec(
        name=endpoint.name,
        kind=endpoint.kind,
        dynamo=endpoint.on_request_plane,
        http=HttpRoute(method=endpoint.http_method, path=endpoint.http_path) if endpoint.over_http else None,
        request_schema=_plain(schema_of()) if callable(schema_of) else None,
    )


def _known_names(entry: Service[Any], modules: set[str]) -> frozenset[str]:
    reachable = entry.reachable()
    modules = modules | {service.inner.__module__ for service in reachable}
    beside = [
        value
        for module in modules & sys.modules.keys()
        for value in list(vars(sys.modules[module]).values())
        if isinstance(value, Service)
    ]
    return frozenset(service.name for service in [*reachable, *beside] if not service.is_placeholder)


def _check_services(services: list[Service[Any]]) -> None:
    by_name: dict[str, Service[Any]] = {}
    for service in services:
        twin = by_name.setdefault(service.name, service)
        if twin is not service:
            raise GraphError(
                f"{service.source}: two services are named {service.name!r}: {twin.import_path} in {twin.source} and "
                f"{service.import_path} in {service.source}; give one of them another name with @service(name=...)"
            )
    for service in services:
        for attribute, edge in service.dependencies.items():
            if edge.on.is_placeholder:
                raise GraphError(
                    f"{service.source}: {service.name}.{attribute} depends on the interface {edge.on.name} and nothing "
                    f"is linked to it; call {service.name}.link() with a service that implements {edge.on.name}"
                )
    if services[0].is_placeholder or not services[0].is_servable():
        raise GraphError(f"{services[0].source}: {services[0].name} is an interface; it cannot be served itself")


def _plain(value: Any) -> Any:
    """The same value as JSON knows it.

    Raises:
        ConfigError: it has no JSON form.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"a value has no JSON form: {error}") from None


def _plain_or_text(value: Any) -> Any:
    try:
        return _plain(value)
    except ConfigError:
        return repr(value)


def _sdk_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dynamod")
    except PackageNotFoundError:
        return ""
