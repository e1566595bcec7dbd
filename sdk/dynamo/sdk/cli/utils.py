"""Old path of what scripts around the original command line used."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dynamo.sdk.core.runner import TargetEnum
from dynamo.sdk.errors import ConfigError


def configure_target_environment(target: TargetEnum) -> None:
    """Accepted so that old scripts run: a graph module needs no target any more.

    Raises:
        ConfigError: (a ValueError) there is no such target.
    """
    if target not in tuple(TargetEnum):
        raise ConfigError(f"there is no target {target!r}; there is {', '.join(t.value for t in TargetEnum)}")


@contextmanager
def reserve_free_port(host: str = "localhost") -> Iterator[int]:
    """A TCP port that is free now and held until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.bind((host, 0))
        yield int(held.getsockname()[1])


__all__ = ["configure_target_environment", "reserve_free_port"]
