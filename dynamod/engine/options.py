"""How an engine is set up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from dynamod.core.gpu_mask import may_allocate


@dataclass(frozen=True)
class EngineOptions:
    """`environ` is what replicas inherit, and where DYNAMOD_GPUS, CUDA_VISIBLE_DEVICES (the pool) and
    DYN_DISABLE_AUTO_GPU_ALLOCATION and DYNAMOD_CGROUPS are read from.

    `ephemeral`: a throw-away state directory (foreground serving). `database_url`: PostgreSQL in place of
    the SQLite file. `discovery`: a shared store (`etcd://host:port`) where replicas meet those of other
    hosts, who reach ours at the address `tcp_host`; by default they meet on this engine's own socket.
    `contact_grace`: seconds without a status before a replica whose process lives counts as out of contact;
    `adoption_grace` the same right after the engine itself has restarted.
    """

    ephemeral: bool = False
    database_url: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    request_plane: str = "stream"
    discovery: str | None = None
    tcp_host: str | None = None
    contact_grace: float = 2.0
    adoption_grace: float = 15.0
    parallel_starts: int = 16
    subscriber_backlog: int = 10_000
    events_kept: int = 200_000
    revisions_kept: int = 50
    logs_kept: float = 7 * 86400.0
    """Seconds for which the logs of replaced and scaled-down replicas stay."""
    inventory_timeout: float = 10.0
    """Seconds that one reading of the GPU inventory may take."""

    @property
    def allocate_gpus(self) -> bool:
        return may_allocate(self.environ)

    @property
    def control_groups(self) -> bool:
        """`DYNAMOD_CGROUPS=off` leaves local replicas where the daemon is, without limits."""
        return self.environ.get("DYNAMOD_CGROUPS", "").lower() not in ("off", "0", "false", "no")
