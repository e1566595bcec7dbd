"""What a component may ask about the process it runs in.

`server_context` is for new code. `dynamo_context` is what graphs written for the original SDK read: the replica
fills it with `service_name`, `runner_map`, `worker_id` and `namespace`, and before the constructor with
`runtime`, `component`, `endpoints` and `lease`, as that SDK's bindings showed them (items of a stream are
wrapped, their payload is `item.data()`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dynamo.sdk.errors import NotRunningError

if TYPE_CHECKING:
    from dynamo.runtime import Component, DistributedRuntime

dynamo_context: dict[str, Any] = {}

DYNAMO_IMAGE = os.environ.get("DYNAMO_IMAGE", "dynamod:latest")
"""The image that services are deployed in unless they name their own."""


class ServerContext:
    """Which worker of which service this process is, and the runtime below it."""

    @property
    def runtime(self) -> DistributedRuntime:
        """The process's runtime: namespaces, clients, discovery, metrics.

        Raises:
            NotRunningError: this process runs no replica.
        """
        found = dynamo_context.get("runtime")
        if found is None:
            raise NotRunningError("there is no runtime outside a running replica")
        plain: DistributedRuntime = getattr(found, "plain", found)
        return plain

    @property
    def component(self) -> Component:
        """The component whose endpoints this process serves.

        Raises:
            NotRunningError: this process runs no replica.
        """
        runtime, mine = self.runtime, dynamo_context["component"]
        return runtime.namespace(mine.namespace).component(mine.name)

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
