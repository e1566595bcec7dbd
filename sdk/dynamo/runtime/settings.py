"""What the environment says about a runtime (see the replica contract). Arguments win over the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dynamo.runtime.errors import ConfigurationError
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.connection import Limits

REQUEST_PLANES = ("stream", "nats")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`lease_ttl`: seconds after which a process that stopped renewing is taken for gone. `tcp_any`: listen on all
    addresses, where a process is also reached by another way than `tcp_host` (a tunnel ends at a pod's loopback)."""

    discovery: str = "memory://"
    scope: str = ""
    request_plane: str = "stream"
    run_dir: Path | None = None
    tcp_host: str = ""
    tcp_any: bool = False
    nats_server: str = "nats://127.0.0.1:4222"
    lease_ttl: float = 10.0
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.request_plane not in REQUEST_PLANES:
            planes = " or ".join(REQUEST_PLANES)
            raise ConfigurationError(f"DYN_REQUEST_PLANE is {self.request_plane!r}: expected {planes}")


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Raises `ConfigurationError` naming the variable."""
    env = os.environ if environ is None else environ
    run_dir = env.get("DYN_RUN_DIR", "")
    return Settings(
        discovery=env.get("DYN_DISCOVERY") or _discovery_of_old_names(env),
        scope=env.get("DYN_SCOPE", ""),
        request_plane=env.get("DYN_REQUEST_PLANE") or "stream",
        run_dir=Path(run_dir) if run_dir else None,
        tcp_host=env.get("DYN_TCP_HOST", ""),
        tcp_any=env.get("DYN_TCP_ANY", "").lower() in ("1", "true", "yes"),
        nats_server=env.get("NATS_SERVER") or "nats://127.0.0.1:4222",
        lease_ttl=_number(env, "DYN_LEASE_TTL", 10.0),
        limits=Limits(
            max_frame=int(_number(env, "DYN_MAX_FRAME", frames.MAX_FRAME)),
            max_streams=int(_number(env, "DYN_MAX_STREAMS", frames.MAX_STREAMS)),
            silence=_number(env, "DYN_PEER_SILENCE", 10.0),
        ),
    )


def _discovery_of_old_names(env: Mapping[str, str]) -> str:
    """`ETCD_ENDPOINTS`, as older deployments set it, or a store in this process."""
    endpoints = env.get("ETCD_ENDPOINTS", "")
    if not endpoints:
        return "memory://"
    hosts = [part.strip().removeprefix("http://").rstrip("/") for part in endpoints.split(",") if part.strip()]
    return f"etcd://{','.join(hosts)}"


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{name} is {text!r}: expected a number") from None
    if value <= 0:
        raise ConfigurationError(f"{name} is {text!r}: expected more than zero")
    return value
