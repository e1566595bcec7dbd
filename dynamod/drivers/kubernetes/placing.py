"""From what an engine wants of a graph to the options and manifests of the cluster that it is placed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from dynamod.core.errors import Conflict, Invalid
from dynamod.drivers.base import Wanted
from dynamod.drivers.kubernetes.manifests import Manifests, manifests
from dynamod.drivers.kubernetes.naming import Names
from dynamod.drivers.kubernetes.options import ClusterOptions

PLACE = ("kubeconfig", "context", "namespace")
"""What says where a graph is. It stays there."""
_DEFAULT_KUBECONFIG = Path("~/.kube/config")


def options_of(wanted: Wanted) -> ClusterOptions:
    """Raises Invalid where they are not options."""
    try:
        return msgspec.convert(dict(wanted.options), ClusterOptions)
    except msgspec.ValidationError as error:
        raise Invalid(str(error), field="kubernetes", remedy="docs/kubernetes.md lists the options") from None


def names_of_wanted(wanted: Wanted) -> Names:
    return Names(wanted.project, wanted.graph, wanted.spec.service_names())


def made_of(wanted: Wanted) -> Manifests:
    """What the cluster is to have. A graph that is stopped has no replicas, and nothing that would add some.

    Raises:
        Invalid: the options contradict the spec, or a service has no image.
    """
    options = options_of(wanted)
    return manifests(
        wanted.spec,
        msgspec.structs.replace(
            options,
            project=wanted.project,
            graph=wanted.graph,
            revision=wanted.revision,
            envs={**options.envs, **wanted.envs},
            replicas=dict(wanted.counts) if wanted.running else dict.fromkeys(wanted.counts, 0),
            autoscale=options.autoscale if wanted.running else {},
        ),
    )


def settled_place(
    given: Mapping[str, Any], before: Mapping[str, Any] | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The options with everything that says where, as far as files tell: a graph that is there stays there.

    Raises:
        Conflict: it is to go somewhere else.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if before is not None:
        for name in PLACE:
            if name in options and options[name] != before.get(name):
                raise Conflict(
                    f"the graph is on {name} {before.get(name)!r}, not {options[name]!r}",
                    remedy="remove it first, or give the new one another name",
                )
        return options | {name: before[name] for name in PLACE if name in before}
    if "kubeconfig" not in options:
        found = Path(environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG.expanduser())
        if found.exists():
            options["kubeconfig"] = str(found)
    return options


def counted(wanted: Wanted, options: ClusterOptions) -> Wanted:
    """Replica counts that the options give become the spec's own, so that there is one place for them."""
    services = []
    for service in wanted.spec.services:
        scaled = options.autoscale.get(service.name)
        workers = options.replicas.get(service.name, scaled.minimum if scaled else service.workers)
        services.append(msgspec.structs.replace(service, workers=workers))
    kept = {name: value for name, value in wanted.options.items() if name != "replicas"}
    spec = msgspec.structs.replace(wanted.spec, services=tuple(services))
    return replace(wanted, spec=spec, options=kept, counts={s.name: s.workers for s in services})
