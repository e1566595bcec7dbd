"""Configuration of a graph: where it comes from, how sources merge, and what a component reads of it.

Sources, highest first: the command line, `DYN_DEPLOYMENT_CONFIG`, a YAML file, the decorator, the
constructor's own defaults. They merge key by key at every depth. The result travels to each replica as
JSON in `DYNAMO_SERVICE_CONFIG`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dynamo.sdk.errors import ConfigError
from dynamo.sdk.options import merge, parse_envs

COMMON = "Common"
COMMON_KEYS = "common-configs"
SERVICE_ARGS = "ServiceArgs"
ENV_SERVICE_CONFIG = "DYNAMO_SERVICE_CONFIG"
ENV_DEPLOYMENT_CONFIG = "DYN_DEPLOYMENT_CONFIG"

Config = dict[str, dict[str, Any]]
"""Keys and values by service, with `Common` and each service's `ServiceArgs` as written."""

# Flags that are on unless their negative form is given (vLLM's command line).
_ON_BY_DEFAULT = frozenset({"enable-prefix-caching", "use-tqdm-on-load", "multi-step-stream-outputs"})


class Source(NamedTuple):
    """One place that configuration came from, by the name a message gives it."""

    where: str
    config: Config


def read_file(path: Path) -> Source:
    """A YAML (or JSON) file.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping of services to mappings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path)) from None
    return Source(str(path), _parse_yaml(text, where=str(path)))


def read_environment(environ: Mapping[str, str]) -> Source | None:
    """`DYN_DEPLOYMENT_CONFIG`, or None where it is not set.

    Raises:
        ConfigError: it is neither YAML nor JSON, or has the wrong shape.
    """
    text = environ.get(ENV_DEPLOYMENT_CONFIG, "")
    if not text.strip():
        return None
    return Source(ENV_DEPLOYMENT_CONFIG, _parse_yaml(text, where=ENV_DEPLOYMENT_CONFIG))


def read_port(environ: Mapping[str, str], name: str, default: int) -> int:
    """A port number from the environment.

    Raises:
        ConfigError: it is none.
    """
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) > 65535:
        raise ConfigError(f"must be a port number from 0 to 65535, not {text!r}", where=name)
    return int(text)


def _parse_yaml(text: str, *, where: str) -> Config:
    try:
        raw: Any = json.loads(text)
    except ValueError:
        import yaml

        try:
            raw = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1}: " if mark else ""
            raise ConfigError(f"{line}not YAML: {getattr(error, 'problem', None) or error}", where=where) from None
    return checked_shape(raw, where=where)


def checked_shape(raw: object, *, where: str) -> Config:
    """A configuration from whatever was parsed, with `ServiceArgs.envs` in its one spelling.

    Raises:
        ConfigError: not a mapping of services to mappings.
    """
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise ConfigError(f"must map service names to their keys, not {type(raw).__name__}", where=where)
    config: Config = {}
    for service, section in raw.items():
        name = str(service)
        if not isinstance(section, Mapping | None):
            raise ConfigError(f"must be a mapping of keys, not {section!r}", where=where, key=name)
        keys = {str(key): value for key, value in (section or {}).items()}
        args = keys.get(SERVICE_ARGS)
        if not isinstance(args, Mapping | None):
            raise ConfigError(f"must be a mapping of keys, not {args!r}", where=where, key=f"{name}.{SERVICE_ARGS}")
        if args and "envs" in args:
            try:
                envs = parse_envs(args["envs"], key=f"{name}.{SERVICE_ARGS}.envs")
            except ConfigError as error:
                raise ConfigError(str(error), where=where) from None
            keys[SERVICE_ARGS] = {**args, "envs": envs}
        config[name] = keys
    return config


def merged(sources: list[Source]) -> Config:
    """All sources as one configuration; later ones win."""
    result: dict[str, Any] = {}
    for source in sources:
        result = merge(result, source.config)
    return result


def own_keys(config: Mapping[str, Mapping[str, Any]], service: str) -> dict[str, Any]:
    """What a service sees of a configuration: the common keys it asked for, then its own; no `ServiceArgs`."""
    section = config.get(service) or {}
    common = config.get(COMMON) or {}
    keys = {key: common[key] for key in section.get(COMMON_KEYS) or () if key in common}
    keys.update({key: value for key, value in section.items() if key not in (COMMON_KEYS, SERVICE_ARGS)})
    return keys


class ServiceConfig(dict[str, dict[str, Any]]):
    """The configuration of all services, as a component sees it."""

    COMMON_CONFIG_SERVICE: ClassVar[str] = COMMON
    COMMON_CONFIG_KEY: ClassVar[str] = COMMON_KEYS
    _instance: ClassVar[ServiceConfig | None] = None

    @classmethod
    def get_instance(cls) -> ServiceConfig:
        """The configuration in `DYNAMO_SERVICE_CONFIG`, read once.

        Raises:
            ConfigError: (a ValueError) it is not JSON of the right shape.
        """
        if cls._instance is None:
            cls._instance = cls.from_environment(os.environ)
        return cls._instance

    @classmethod
    def forget(cls) -> None:
        """Read the environment again at the next `get_instance`."""
        cls._instance = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ServiceConfig:
        """As `get_instance`, from a given environment and without keeping it."""
        text = environ.get(ENV_SERVICE_CONFIG, "")
        if not text.strip():
            return cls()
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"not JSON: {error}", where=ENV_SERVICE_CONFIG) from None
        return cls(checked_shape(raw, where=ENV_SERVICE_CONFIG))

    def require(self, service_name: str, key: str) -> Any:
        """A value that must be there.

        Raises:
            ConfigError: (a ValueError) it is not.
        """
        keys = own_keys(self, service_name)
        if key not in keys:
            raise ConfigError(f"{service_name}.{key} must be specified in configuration")
        return keys[key]

    @classmethod
    def get_parsed_config(cls, service_name: str) -> dict[str, Any]:
        """A service's keys with the common ones it asked for, without `ServiceArgs`."""
        return own_keys(cls.get_instance(), service_name)

    def as_args(self, service_name: str, prefix: str = "") -> list[str]:
        """A service's keys as a command line: common keys first, then its own.

        True is `--key`. None is left out, and so is False, except for flags that are on by default, which become
        `--no-key`. A mapping is JSON, and so is a list; everything else is its text.

        Args:
            prefix: take keys that start with it only, and strip it.
        """
        argv: list[str] = []
        for key, value in own_keys(self, service_name).items():
            if value is None or not key.startswith(prefix):
                continue
            flag = key[len(prefix) :]
            if value is True:
                argv.append(f"--{flag}")
            elif value is False:
                if flag.replace("_", "-") in _ON_BY_DEFAULT:
                    argv.append(f"--no-{flag.replace('_', '-')}")
            else:
                argv += [f"--{flag}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
        return argv
