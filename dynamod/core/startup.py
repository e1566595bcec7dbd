"""The critical chain of a start-up: which services, one waiting for the other, the time until ready is made of."""

from __future__ import annotations

from collections.abc import Sequence

from dynamo.sdk.spec import GraphSpec
from dynamod.core.records import ReplicaRecord


def critical_chain(spec: GraphSpec, replicas: Sequence[ReplicaRecord]) -> list[tuple[str, float]]:
    """`(service, seconds from its start to ready)` in order of start, ending with the service that was ready last.

    Before each stands the dependency that became ready last: the one that it waited for.
    """
    times: dict[str, tuple[float, float]] = {}
    for replica in replicas:
        if replica.started_at is None or replica.ready_at is None:
            continue
        began, ready = times.get(replica.service, (replica.started_at, replica.ready_at))
        times[replica.service] = (min(began, replica.started_at), max(ready, replica.ready_at))
    chain: list[tuple[str, float]] = []
    service = max(times, key=lambda name: times[name][1], default=None)
    while service is not None and service in spec.service_names():
        began, ready = times[service]
        chain.insert(0, (service, ready - began))
        needed = {d.service for d in spec.service(service).dependencies if d.service in times}
        earlier = [name for name in needed if times[name][0] < began]
        service = max(earlier, key=lambda name: times[name][1], default=None)
    return chain


def describe_chain(chain: Sequence[tuple[str, float]]) -> str:
    """E.g. `Backend 0.5 s, then Middle 0.5 s, then Frontend 0.6 s`."""
    return ", then ".join(f"{service} {seconds:.1f} s" for service, seconds in chain)
