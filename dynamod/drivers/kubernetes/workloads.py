"""What keeps a service's replicas running and reachable: Deployment or StatefulSet, Service, budget, autoscaler."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.drivers.kubernetes.naming import REVISION, Names
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.drivers.kubernetes.pods import http_port, is_stateful, pod_template
from dynamod.drivers.kubernetes.probes import HTTP

Object = dict[str, Any]
"""A Kubernetes object as plain data."""


def service_objects(
    spec: GraphSpec, service: ServiceSpec, names: Names, options: KubernetesOptions
) -> Iterator[Object]:
    """Everything that one service needs.

    Raises:
        Invalid: it has no image, or its configuration does not fit.
    """
    replicas = options.replicas.get(service.name, service.workers)
    scaled = options.autoscale.get(service.name)
    yield _workload(spec, service, names, options, None if scaled else replicas)
    if http_port(service) is not None:
        yield _service(service, names)
    if is_stateful(service, options):
        yield _peers(service, names)
    at_least = scaled.minimum if scaled else replicas
    if options.disruption_budgets and at_least > 1:
        yield _budget(service, names)
    if scaled:
        yield _autoscaler(service, names, options)


def metadata(name: str, names: Names, service: str | None = None) -> dict[str, Any]:
    return {"name": name, "labels": names.labels(service)}


def _workload(
    spec: GraphSpec, service: ServiceSpec, names: Names, options: KubernetesOptions, replicas: int | None
) -> Object:
    name = names.of(service.name)
    stateful = is_stateful(service, options)
    body: dict[str, Any] = {
        "selector": {"matchLabels": names.selector(service.name)},
        "revisionHistoryLimit": 10,
        "template": pod_template(spec, service, names, options),
    }
    if replicas is not None:  # an autoscaler's decisions would be undone at every apply
        body["replicas"] = replicas
    if stateful:
        body |= {"serviceName": names.peers_of(service.name), "podManagementPolicy": "Parallel"}
        if (volume := options.volumes.get(service.name)) is not None:
            claim: dict[str, Any] = {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": volume.size}},
            }
            if volume.storage_class is not None:
                claim["storageClassName"] = volume.storage_class
            body["volumeClaimTemplates"] = [
                {"metadata": {"name": "data", "labels": names.selector(service.name)}, "spec": claim}
            ]
    else:
        # Where devices are all taken, a replica more than there should be never finds one: stop, then start.
        gpu = service.resources.gpu > 0
        body["strategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0 if gpu else 1, "maxUnavailable": 1 if gpu else 0},
        }
        body["progressDeadlineSeconds"] = max(1, math.ceil(service.probes.startup_timeout)) + 60
    about = metadata(name, names, service.name)
    if options.revision is not None:
        about["labels"][REVISION] = str(options.revision)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet" if stateful else "Deployment",
        "metadata": about,
        "spec": body,
    }


def _service(service: ServiceSpec, names: Names) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(names.of(service.name), names, service.name),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(service.name),
            "ports": [{"name": HTTP, "port": http_port(service), "targetPort": HTTP, "protocol": "TCP"}],
        },
    }


def _peers(service: ServiceSpec, names: Names) -> Object:
    """The governing Service of a StatefulSet: a DNS name for each pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(names.peers_of(service.name), names, service.name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": names.selector(service.name),
        },
    }


def _budget(service: ServiceSpec, names: Names) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(names.of(service.name), names, service.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.selector(service.name)}},
    }


def _autoscaler(service: ServiceSpec, names: Names, options: KubernetesOptions) -> Object:
    wanted = options.autoscale[service.name]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(names.of(service.name), names, service.name),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet" if is_stateful(service, options) else "Deployment",
                "name": names.of(service.name),
            },
            "minReplicas": wanted.minimum,
            "maxReplicas": wanted.maximum,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": wanted.cpu_percent},
                    },
                }
            ],
        },
    }
