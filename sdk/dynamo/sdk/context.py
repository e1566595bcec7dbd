"""What a component may ask about the process it runs in.

`dynamo_context` is filled by the replica: `service_name`, `runner_map`, `worker_id` and `namespace` before
the class is constructed in full, `runtime`, `component`, `endpoints` and `lease` before its `__init__`.
"""

from __future__ import annotations

import os
from typing import Any

dynamo_context: dict[str, Any] = {}

DYNAMO_IMAGE = os.environ.get("DYNAMO_IMAGE", "dynamod:latest")
"""The image that services are deployed in unless they name their own."""


class ServerContext:
    """Which worker of which service this process is; old code reads `server_context.worker_index`."""

    @property
    def worker_index(self) -> int:
        """Counts from 1 within the service; 0 outside a replica."""
        return int(dynamo_context.get("worker_id") or 0)

    @property
    def service_name(self) -> str:
        return str(dynamo_context.get("service_name") or "")

    @property
    def service_type(self) -> str:
        """`service` in a replica, `standalone` elsewhere."""
        return "service" if dynamo_context.get("service_name") else "standalone"

    @property
    def worker_count(self) -> int:
        """How many workers of this service were asked for when this one started; 1 outside a replica."""
        return int(dynamo_context.get("worker_count") or 1)


server_context = ServerContext()
