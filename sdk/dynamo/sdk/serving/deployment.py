"""`@on_deployment`: once per deployment, before any worker of the graph starts.

A deployment lasts from its first replica to its last. Whoever comes first runs the hooks of all services
under a lease and everybody else waits; each replica then says under its own lease that they are done, so
a replica that is restarted later does not run them again. The store that replicas meet in is enough for
that, whatever starts them: an engine, containers, several hosts, or a person.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.runtime.discovery.base import Discovery, Lease
from dynamo.runtime.keys import deployment_done_key, deployment_done_prefix, deployment_lock_key
from dynamo.sdk.hooks import Hook, hook_names, run_deployment_hooks
from dynamo.sdk.services import Service
from dynamo.sdk.serving.reporting import report_progress

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime

logger = logging.getLogger(__name__)

_LEASE_TTL = 10.0


def deployment_id(target: str, config: Mapping[str, Any]) -> str:
    """Equal for replicas of one deployment: a changed configuration is another one."""
    return hashlib.sha256(target.encode() + msgspec.json.encode(config, order="deterministic")).hexdigest()[:16]


async def deployed_once(runtime: DistributedRuntime, services: Sequence[Service[Any]], deployment: str) -> None:
    """Return once the deployment's hooks have run, here or in another replica.

    Raises:
        Exception: whatever a hook raises here; another replica, or this one restarted, tries again.
    """
    hooked = [service for service in services if hook_names(service.inner, Hook.DEPLOYMENT)]
    if not hooked:
        return
    done = deployment_done_prefix(runtime.scope, deployment)
    lock = deployment_lock_key(runtime.scope, deployment)
    lease = await runtime.discovery.grant(_LEASE_TTL)
    try:
        while not (await runtime.discovery.get_prefix(done)).items:
            if await runtime.discovery.create(lock, b"", lease):
                if not (await runtime.discovery.get_prefix(done)).items:
                    await _run(hooked)
                break
            report_progress("waits for deployment hooks that run in another replica")
            await _released(runtime.discovery, lock)
        await runtime.register(lambda instance: deployment_done_key(runtime.scope, deployment, instance), lambda _: b"")
    finally:
        await _revoke(lease)


async def _run(services: Sequence[Service[Any]]) -> None:
    for service in services:
        logger.info("running the deployment hooks of %s", service.name)
        report_progress(f"deployment hooks of {service.name}")
        await run_deployment_hooks(service.inner)


async def _released(discovery: Discovery, lock: str) -> None:
    """Wait until nobody holds the lock: its holder is done, or gone."""
    watch = await discovery.watch(lock)
    try:
        if watch.snapshot.items:
            async for _ in watch:
                if await discovery.get(lock) is None:
                    return
    finally:
        await watch.close()


async def _revoke(lease: Lease) -> None:
    """Give the lock up. Without contact to the store it runs out by itself."""
    from dynamo.runtime.errors import DiscoveryError

    try:
        async with asyncio.timeout(5):
            await lease.revoke()
    except (DiscoveryError, TimeoutError) as error:
        logger.warning("the deployment lock could not be released: %s", error)
