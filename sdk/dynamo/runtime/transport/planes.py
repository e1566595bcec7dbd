"""Which request plane a process uses: the one that its settings name."""

from __future__ import annotations

import importlib
from pathlib import Path

from dynamo.runtime.errors import ConfigurationError
from dynamo.runtime.settings import Settings
from dynamo.runtime.transport.base import RequestPlane
from dynamo.runtime.transport.stream import StreamPlane


async def open_plane(settings: Settings, run_dir: Path) -> RequestPlane:
    """Raises `ConfigurationError` when the plane cannot be had here, `PlaneUnreachable` when nobody answers."""
    if settings.request_plane == "stream":
        return StreamPlane(
            run_dir, tcp_host=settings.tcp_host or None, tcp_any=settings.tcp_any, limits=settings.limits
        )
    try:
        nats = importlib.import_module("dynamo.runtime.transport.nats")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the NATS request plane needs the extra dynamod[nats] ({error})") from error
    plane: RequestPlane = await nats.NatsPlane.connect(settings.nats_server, limits=settings.limits)
    return plane
