"""What `@service(...)` and a configuration's `ServiceArgs` say about a service, checked and merged.

Both speak the same words; the configuration wins, key by key at every depth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from dynamo.sdk.errors import ConfigError, nearest
from dynamo.sdk.resources import DeclaredResources, declare_resources
from dynamo.sdk.spec import ProbesSpec, RestartSpec


@dataclass(frozen=True)
class LeaseConfig:
    """A lease of the service's own: its instances vanish `ttl` seconds after the process stops renewing it."""

    ttl: float = 1


@dataclass(frozen=True)
class DynamoOptions:
    """Where a service is found. An empty name is the class name."""

    enabled: bool = True
    name: str | None = None
    namespace: str = "default"
    custom_lease: LeaseConfig | None = None
    component_type: str | None = None


@dataclass(frozen=True)
class ServiceOptions:
    """Everything said about a service, in the types of a `ServiceSpec`. `extra` keeps unknown keywords."""

    dynamo: DynamoOptions = DynamoOptions()
    resources: DeclaredResources = field(default_factory=DeclaredResources)
    workers: int = 1
    image: str | None = None
    envs: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    probes: ProbesSpec = field(default_factory=ProbesSpec)
    restart: RestartSpec = field(default_factory=RestartSpec)
    drain_timeout: float = 30.0
    http_port: int | None = None
    http_host: str | None = None
    kubernetes_overrides: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        """`service.config["workers"]`, as older code writes it."""
        if key in KNOWN_KEYS:
            return getattr(self, key)
        return self.extra[key]

    def get(self, key: str, default: Any = None) -> Any:
        """As a mapping's `get`."""
        try:
            return self[key]
        except KeyError:
            return default


KNOWN_KEYS = frozenset(f.name for f in dataclasses.fields(ServiceOptions)) - {"extra"}
DECORATOR_ONLY = frozenset({"traffic", "metrics", "runner_map", "description", "path_prefix", "cmd", "args"})
"""Words of older decorators that a configuration may repeat; they are kept and mean nothing here."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings merge at every depth, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def normalise(raw: Mapping[str, Any], *, where: str, strict: bool) -> dict[str, Any]:
    """One spelling for each word: `resource` becomes `resources`, lists of envs become mappings.

    Args:
        where: the dotted path that a message names, e.g. `Middle.ServiceArgs`.
        strict: refuse words that mean nothing (a configuration) or keep them (a decorator).

    Raises:
        ConfigError: a word is unknown, or a value has the wrong shape.
    """
    words = dict(raw)
    if "resource" in words:
        words["resources"] = merge(_mapping(words.pop("resource"), f"{where}.resource"), words.get("resources") or {})
    if strict:
        for word in words:
            if word not in KNOWN_KEYS and word not in DECORATOR_ONLY:
                raise ConfigError(f"means nothing{nearest(word, KNOWN_KEYS)}", key=f"{where}.{word}")
    if "envs" in words:
        words["envs"] = parse_envs(words["envs"], key=f"{where}.envs")
    for word in ("dynamo", "resources", "labels", "probes", "restart", "kubernetes_overrides"):
        if word in words:
            words[word] = _mapping(words[word], f"{where}.{word}")
    return words


def parse_envs(raw: object, *, key: str) -> dict[str, str]:
    """`[{name, value}, …]` or `{NAME: value}`; values are text.

    Raises:
        ConfigError: neither shape.
    """
    if raw is None:
        return {}
    if isinstance(raw, Mapping):
        return {str(name): _env_text(value) for name, value in raw.items()}
    if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
        raise ConfigError(f"must be a list of {{name, value}} or a mapping, not {raw!r}", key=key)
    envs: dict[str, str] = {}
    for index, item in enumerate(raw):
        entry = item if isinstance(item, Mapping) else getattr(item, "__dict__", None)
        if not isinstance(entry, Mapping) or not entry.get("name"):
            raise ConfigError(f"must be {{name, value}}, not {item!r}", key=f"{key}[{index}]")
        envs[str(entry["name"])] = _env_text(entry.get("value"))
    return envs


def build(words: Mapping[str, Any], *, where: str) -> ServiceOptions:
    """Options from normalised words.

    Raises:
        ConfigError: a value has the wrong type; the message names its path from `where` on.
    """
    workers = words.get("workers", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise ConfigError(f"must be a whole number, 0 or more, not {workers!r}", key=f"{where}.workers")
    port = words.get("http_port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535):
        raise ConfigError(f"must be a port number from 0 to 65535, not {port!r}", key=f"{where}.http_port")
    return ServiceOptions(
        dynamo=_dynamo(words.get("dynamo") or {}, key=f"{where}.dynamo"),
        resources=declare_resources(words.get("resources") or {}, key=f"{where}.resources"),
        workers=workers,
        image=words.get("image"),
        envs=words.get("envs") or {},
        labels={str(k): str(v) for k, v in (words.get("labels") or {}).items()},
        probes=_convert(words.get("probes") or {}, ProbesSpec, f"{where}.probes"),
        restart=_convert(words.get("restart") or {}, RestartSpec, f"{where}.restart"),
        drain_timeout=_convert(words.get("drain_timeout", 30.0), float, f"{where}.drain_timeout"),
        http_port=port,
        http_host=words.get("http_host"),
        kubernetes_overrides=_kubernetes(words.get("kubernetes_overrides") or {}, key=f"{where}.kubernetes_overrides"),
        extra={k: v for k, v in words.items() if k not in KNOWN_KEYS},
    )


def _dynamo(raw: Mapping[str, Any], *, key: str) -> DynamoOptions:
    known = {f.name for f in dataclasses.fields(DynamoOptions)}
    for word in raw:
        if word not in known:
            raise ConfigError(f"means nothing{nearest(word, known)}", key=f"{key}.{word}")
    lease = raw.get("custom_lease")
    if isinstance(lease, Mapping):
        lease = LeaseConfig(ttl=_convert(lease.get("ttl", 1), float, f"{key}.custom_lease.ttl"))
    elif lease is not None and not isinstance(lease, LeaseConfig):
        raise ConfigError(f"must be {{ttl: seconds}}, not {lease!r}", key=f"{key}.custom_lease")
    for word in ("name", "namespace", "component_type"):
        value = raw.get(word)
        if value is not None and (not isinstance(value, str) or "/" in value):
            raise ConfigError(f"must be a name without '/', not {value!r}", key=f"{key}.{word}")
    return DynamoOptions(
        enabled=bool(raw.get("enabled", True)),
        name=raw.get("name") or None,
        namespace=raw.get("namespace") or "default",
        custom_lease=lease,
        component_type=raw.get("component_type"),
    )


def _kubernetes(raw: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    known = ("entrypoint", "cmd")
    for word, value in raw.items():
        if word not in known:
            raise ConfigError(f"means nothing{nearest(word, known)}", key=f"{key}.{word}")
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ConfigError(f"must be a string or a list of strings, not {value!r}", key=f"{key}.{word}")
    return {word: [value] if isinstance(value, str) else value for word, value in raw.items() if value is not None}


T = TypeVar("T")


def _convert(raw: object, kind: type[T], key: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), key=key) from None


def _mapping(raw: object, key: str) -> dict[str, Any]:
    if raw is None:
        return {}
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        return dataclasses.asdict(raw)
    dump = getattr(raw, "model_dump", None)
    if callable(dump):
        return dict(dump(exclude_none=True))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"must be a mapping, not {raw!r}", key=key)
    return {str(k): v for k, v in raw.items()}


def _env_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
