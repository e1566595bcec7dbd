"""A graph on a cluster: `python -m dynamod.drivers.kubernetes.deploy --options FILE`.

The file holds `DeployOptions` as JSON. On stdout come JSON objects, one a line: `{"note": text}`, `{"step": text}`,
`{"replica": …}` at each change of one, `{"line": text, "replica": id}` of a log, and last `{"done": …}`, or
`{"error": …, "reason": …}` with exit code 2.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from dynamo.sdk.spec import GraphSpec
from dynamod import program
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes import deploying
from dynamod.drivers.kubernetes.cluster import Cluster
from dynamod.drivers.kubernetes.manifests import manifests, names_of
from dynamod.drivers.kubernetes.naming import SERVICE, Names, label_value
from dynamod.drivers.kubernetes.options import KubernetesOptions


class DeployOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One action. `spec` is needed to apply; for the others `kubernetes.graph` names the graph.

    `force` takes fields that others manage. `timeout` in seconds bounds the wait for readiness, or for the last pod's
    end.
    """

    action: Literal["apply", "status", "logs", "delete"]
    spec: GraphSpec | None = None
    kubernetes: KubernetesOptions = KubernetesOptions()
    kubeconfig: str | None = None
    context: str | None = None
    wait: bool = True
    timeout: float = 3600.0
    force: bool = False
    service: str | None = None
    follow: bool = False
    tail: int | None = None


async def run(options: DeployOptions) -> Any:
    """Do it; what is told in the end.

    Raises:
        EngineError: one line: what failed, on what, what to do.
    """
    file = Path(options.kubeconfig) if options.kubeconfig else None
    async with Cluster.connect(file, context=options.context, namespace=options.kubernetes.namespace) as cluster:
        selector = _names(options).graph_selector()
        if options.action == "apply":
            return await _apply(cluster, options, selector)
        if options.action == "status":
            return await deploying.look(cluster, selector)
        if options.action == "delete":
            return {"deleted": await deploying.remove(cluster, selector, timeout=options.timeout)}
        if options.service is not None:
            selector |= {SERVICE: label_value(options.service)}
        await deploying.print_logs(
            cluster,
            selector,
            lambda replica, line: program.tell({"line": line, "replica": replica}),
            follow=options.follow,
            tail=options.tail,
        )
        return {}


async def _apply(cluster: Cluster, options: DeployOptions, selector: dict[str, str]) -> Any:
    if options.spec is None:
        raise Invalid("there is nothing to apply", field="spec")
    made = manifests(options.spec, options.kubernetes)
    for note in made.notes:
        program.tell({"note": str(note)})
    applied = await cluster.apply(made.objects, selector, force=options.force)
    for verb, paths in (("applied", applied.written), ("deleted", applied.pruned)):
        for path in paths:
            program.tell({"step": f"{verb} {path}"})
    if not applied.written and not applied.pruned:
        program.tell({"step": "nothing to change"})
    if not options.wait:
        return {"written": len(applied.written)}
    return await deploying.settle(
        cluster, selector, timeout=options.timeout, changed=lambda replica: program.tell({"replica": replica})
    )


def _names(options: DeployOptions) -> Names:
    if options.spec is not None:
        return names_of(options.spec, options.kubernetes)
    if options.kubernetes.graph is None:
        raise Invalid("which graph is meant?", field="graph")
    return Names(options.kubernetes.project, options.kubernetes.graph, ())


def _answer(options: DeployOptions) -> dict[str, Any]:
    return {"done": asyncio.run(run(options))}


if __name__ == "__main__":
    sys.exit(program.run("dynamod.drivers.kubernetes.deploy", DeployOptions, _answer))
