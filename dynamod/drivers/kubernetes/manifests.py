"""A graph's manifests: pure, from the spec and the options to objects and notes, in a fixed order.

The objects suit Kubernetes 1.25 and newer; on older ones `disruption_budgets` must be off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec, RestartSpec, ServiceSpec
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes import probes, resources
from dynamod.drivers.kubernetes.bundled import bundled_objects
from dynamod.drivers.kubernetes.naming import CONFIG, DIGEST, SECRETS, Names, split_labels
from dynamod.drivers.kubernetes.notes import Note
from dynamod.drivers.kubernetes.options import Bundled, KubernetesOptions
from dynamod.drivers.kubernetes.pods import SERVICE_CONFIG, config_text, http_port, is_stateful, secret_names
from dynamod.drivers.kubernetes.probes import HTTP
from dynamod.drivers.kubernetes.workloads import Object, metadata, service_objects

_KINDS = (
    "ServiceAccount",
    "ConfigMap",
    "Service",
    "Deployment",
    "StatefulSet",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "Ingress",
)
"""In the order in which they are applied: what others refer to first."""


class Manifests(msgspec.Struct, frozen=True, kw_only=True):
    """`objects` in the order in which they are applied; `notes` on what they cannot say."""

    objects: tuple[Object, ...]
    notes: tuple[Note, ...]


def manifests(spec: GraphSpec, options: KubernetesOptions) -> Manifests:
    """The same objects, in the same order, for the same spec and options.

    Raises:
        Invalid: the options contradict the spec, or a service has no image. The error names the field.
    """
    check(spec, options)
    names = names_of(spec, options)
    objects = [_service_account(names, options), _config(spec, names)]
    for service in spec.services:
        objects += service_objects(spec, service, names, options)
    objects += bundled_objects(names, options)
    if options.ingress is not None:
        objects.append(_ingress(spec, names, options))
    if options.namespace is not None:
        for one in objects:
            one["metadata"]["namespace"] = options.namespace
    objects.sort(key=lambda one: (_KINDS.index(one["kind"]), one["metadata"]["name"]))
    return Manifests(objects=tuple(objects), notes=tuple(_notes(spec, names, options)))


def names_of(spec: GraphSpec, options: KubernetesOptions) -> Names:
    """What the graph's objects are called."""
    return Names(options.project, options.graph or spec.name, spec.service_names())


def check(spec: GraphSpec, options: KubernetesOptions) -> None:
    """Raises `Invalid` where the options name what the spec does not have."""
    known = spec.service_names()
    named: dict[str, Sequence[str]] = {
        "stateful": options.stateful,
        "volumes": list(options.volumes),
        "autoscale": list(options.autoscale),
        "replicas": list(options.replicas),
    }
    for field, services in named.items():
        for name in services:
            if name not in known:
                raise Invalid(f"graph {spec.name!r} has no service {name!r}; it has {', '.join(known)}", field=field)
    for name, wanted in options.autoscale.items():
        if wanted.maximum < wanted.minimum:
            raise Invalid(
                f"{name!r} may have {wanted.maximum} replicas at most and {wanted.minimum} at least", field="autoscale"
            )
        if spec.service(name).resources.cpu is None:
            raise Invalid(
                f"service {name!r} requests no CPU, and its use is measured against what it requests",
                field=f"autoscale.{name}",
                remedy="set resources.cpu",
            )
    if options.ingress is not None and spec.service(spec.entry).http_port is None:
        raise Invalid(f"the entry service {spec.entry!r} has no HTTP routes", field="ingress")
    if options.request_plane == "nats" and options.nats is None:
        raise Invalid("requests go over NATS, and no server is named", field="nats", remedy="bundle one or give a URL")


def _service_account(names: Names, options: KubernetesOptions) -> Object:
    """An account of the graph's own that may do nothing: replicas never ask the cluster's API."""
    account: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(names.base, names),
        "automountServiceAccountToken": False,
    }
    if options.image_pull_secrets:
        account["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    return account


def _config(spec: GraphSpec, names: Names) -> Object:
    about = metadata(names.own(CONFIG), names)
    # What the spec says of the machine that it was read on is no part of what runs here.
    portable = msgspec.structs.replace(spec, interpreter="", working_dir="")
    about["annotations"] = {DIGEST: portable.digest()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "data": {SERVICE_CONFIG: config_text(spec)},
    }


def _ingress(spec: GraphSpec, names: Names, options: KubernetesOptions) -> Object:
    wanted = options.ingress
    assert wanted is not None
    backend = {"service": {"name": names.of(spec.entry), "port": {"name": HTTP}}}
    body: dict[str, Any] = {
        "rules": [{"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    }
    if wanted.class_name is not None:
        body["ingressClassName"] = wanted.class_name
    if wanted.tls_secret is not None:
        body["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls_secret}]
    about = metadata(names.base, names, spec.entry)
    if wanted.annotations:
        about["annotations"] = dict(wanted.annotations)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": about, "spec": body}


def _notes(spec: GraphSpec, names: Names, options: KubernetesOptions) -> Iterator[Note]:
    if spec.working_dir:
        yield Note(
            field="working_dir",
            reason="a cluster does not see a working tree",
            instead="the image must hold its modules and the packages of the interpreter",
        )
    if any(service.dependencies for service in spec.services):
        yield Note(
            field="services",
            reason="Kubernetes starts everything at once",
            instead="a replica is not ready before what it needs is",
        )
    if secrets := secret_names(spec, options):
        yield Note(
            field="envs",
            reason=f"{', '.join(secrets)}: secrets are not written into manifests",
            instead=f"make the Secret {names.own(SECRETS)!r} with these keys before applying",
        )
    if isinstance(options.etcd, Bundled) and sum(service.workers for service in spec.services) > 1:
        yield Note(
            field="etcd",
            reason="the bundled etcd is a single pod",
            instead="while it moves to another node, nobody new is found; name a cluster with its URL to avoid that",
        )
    for service in spec.services:
        yield from _service_notes(service, options)


def _service_notes(service: ServiceSpec, options: KubernetesOptions) -> Iterator[Note]:
    where = f"services.{service.name}"
    yield from resources.notes(service, options)
    yield from probes.notes(service)
    if service.restart != RestartSpec():
        yield Note(
            field=f"{where}.restart",
            reason="the kubelet has one restart policy",
            instead="restarts without limit, the delay doubling up to five minutes",
        )
    if service.http_port == 0:
        yield Note(
            field=f"{where}.http_port", reason="a Service needs a fixed port", instead=f"port {http_port(service)}"
        )
    if is_stateful(service, options) and not service.kubernetes_overrides:
        yield Note(
            field=f"{where}.workers",
            reason="a pod learns its number from its name alone",
            instead="the command goes through the image's `sh`",
        )
    for key in split_labels(service.labels)[1]:
        yield Note(field=f"{where}.labels.{key}", reason="not a label of Kubernetes", instead="an annotation")
