"""An etcd and a NATS server of the graph's own, for clusters that have none to share.

One pod each, without a volume: what they hold belongs to live replicas, which put it back when the server is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dynamod.drivers.kubernetes.naming import ETCD, NATS, Names
from dynamod.drivers.kubernetes.options import Bundled, KubernetesOptions
from dynamod.drivers.kubernetes.workloads import Object, metadata

_DATA = "/data"
_USER = 10001


def bundled_objects(names: Names, options: KubernetesOptions) -> Iterator[Object]:
    """Deployment and Service of each server that the options bundle."""
    if isinstance(options.etcd, Bundled):
        yield from _server(
            names,
            ETCD,
            options.etcd.image,
            [
                "etcd",
                f"--data-dir={_DATA}",
                "--listen-client-urls=http://0.0.0.0:2379",
                f"--advertise-client-urls=http://{names.own(ETCD)}:2379",
                "--auto-compaction-mode=revision",
                "--auto-compaction-retention=10000",
            ],
            port=2379,
            health=("/health", 2379),
            options=options,
        )
    if isinstance(options.nats, Bundled):
        yield from _server(
            names,
            NATS,
            options.nats.image,
            ["nats-server", "-js", "-sd", _DATA, "-m", "8222"],
            port=4222,
            health=("/healthz", 8222),
            options=options,
        )


def _server(
    names: Names,
    what: str,
    image: str,
    command: list[str],
    *,
    port: int,
    health: tuple[str, int],
    options: KubernetesOptions,
) -> Iterator[Object]:
    name = names.own(what)
    labels = names.labels() | {"app.kubernetes.io/name": what, "app.kubernetes.io/component": what}
    selector = names.graph_selector() | {"app.kubernetes.io/component": what}
    path, health_port = health
    probe = {"httpGet": {"path": path, "port": health_port, "scheme": "HTTP"}, "periodSeconds": 2, "timeoutSeconds": 5}
    container: dict[str, Any] = {
        "name": what,
        "image": image,
        "command": command,
        "ports": [{"name": "client", "containerPort": port, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "data", "mountPath": _DATA}],
        "readinessProbe": probe | {"failureThreshold": 3},
        "livenessProbe": probe | {"initialDelaySeconds": 10, "failureThreshold": 10},
    }
    if options.image_pull_policy is not None:
        container["imagePullPolicy"] = options.image_pull_policy
    pod: dict[str, Any] = {
        "serviceAccountName": names.base,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    if options.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in options.image_pull_secrets]
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, names) | {"labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            # Two servers that know nothing of each other must never answer under one name.
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, names) | {"labels": labels},
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "client", "port": port, "targetPort": "client", "protocol": "TCP"}],
        },
    }
