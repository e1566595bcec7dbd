"""The graph as NVIDIA's `DynamoGraphDeployment`, for clusters that run its operator.

The operator makes the workloads, Services and probes' surroundings itself and tells replicas where its etcd and NATS
are (`ETCD_ENDPOINTS`, `NATS_SERVER`, which the runtime reads), so those are left out unless a URL is given.
v1beta1 is the stored version, v1alpha1 is served beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes.manifests import Manifests, manifests, names_of
from dynamod.drivers.kubernetes.naming import Names, slug
from dynamod.drivers.kubernetes.notes import Note
from dynamod.drivers.kubernetes.options import Bundled, KubernetesOptions
from dynamod.drivers.kubernetes.pods import command_line, environment, image_of, ports
from dynamod.drivers.kubernetes.probes import probes
from dynamod.drivers.kubernetes.resources import gpus, resources
from dynamod.drivers.kubernetes.workloads import Object, metadata

Version = Literal["v1beta1", "v1alpha1"]
MAX_COMPONENTS = 25
_TYPES = ("frontend", "worker", "prefill", "decode", "planner", "epp")
_FRAMEWORKS = ("vllm", "sglang", "trtllm")


def dynamo_graph(spec: GraphSpec, options: KubernetesOptions, version: Version) -> Manifests:
    """The resource, and the ConfigMap that it refers to.

    Raises:
        Invalid: more components than the resource may have, a service without an image, or contradicting options.
    """
    if len(spec.services) > MAX_COMPONENTS:
        raise Invalid(
            f"a DynamoGraphDeployment has {MAX_COMPONENTS} components at most, and the graph {len(spec.services)}",
            field="services",
            remedy="export plain manifests",
        )
    plain = manifests(spec, options)
    names = names_of(spec, options)
    about = metadata(names.base, names)
    if options.namespace is not None:
        about["namespace"] = options.namespace
    body = _beta(spec, names, options) if version == "v1beta1" else _alpha(spec, names, options)
    resource: Object = {
        "apiVersion": f"nvidia.com/{version}",
        "kind": "DynamoGraphDeployment",
        "metadata": about,
        "spec": body,
    }
    config = [one for one in plain.objects if one["kind"] == "ConfigMap"]
    kept = tuple(note for note in plain.notes if note.field != "etcd")
    return Manifests(objects=(*config, resource), notes=(*kept, *_notes(options, version)))


def component_type(spec: GraphSpec, service: ServiceSpec) -> str:
    """What the operator should take it for: what the service says, else by its place in the graph."""
    if service.component_type in _TYPES:
        return service.component_type
    return "frontend" if service.name == spec.entry and service.http_port is not None else "worker"


def _beta(spec: GraphSpec, names: Names, options: KubernetesOptions) -> dict[str, Any]:
    components = []
    for service in spec.services:
        pod: dict[str, Any] = {"containers": [_container(spec, service, names, options)]}
        if options.image_pull_secrets:
            pod["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
        component: dict[str, Any] = {
            "name": slug(service.name, fallback="s"),
            "type": component_type(spec, service),
            "replicas": options.replicas.get(service.name, service.workers),
            "podTemplate": {"spec": pod},
        }
        components.append(component)
    body: dict[str, Any] = {"components": components}
    if (framework := _framework(spec)) is not None:
        body["backendFramework"] = framework
    return body


def _alpha(spec: GraphSpec, names: Names, options: KubernetesOptions) -> dict[str, Any]:
    services = {}
    for service in spec.services:
        container = _container(spec, service, names, options)
        said: dict[str, Any] = {
            "componentType": component_type(spec, service),
            "replicas": options.replicas.get(service.name, service.workers),
            "envs": container.pop("env"),
        }
        asked = container.pop("resources")
        limits = {key: value for key, value in asked.get("limits", {}).items() if key in ("cpu", "memory")}
        if service.resources.gpu > 0:
            limits["gpu"] = str(gpus(service.resources.gpu, options)[1])
        if limits or "requests" in asked:
            said["resources"] = {k: v for k, v in (("limits", limits), ("requests", asked.get("requests"))) if v}
        if options.env_secrets:
            said["envFromSecret"] = options.env_secrets[0]
            container.pop("envFrom")
        del container["name"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name in container and name != "startupProbe":
                said[name] = container.pop(name)
        said["extraPodSpec"] = {"mainContainer": container}
        if options.image_pull_secrets:
            said["extraPodSpec"]["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
        services[service.name] = said
    body: dict[str, Any] = {"services": services}
    if (framework := _framework(spec)) is not None:
        body["backendFramework"] = framework
    return body


def _container(spec: GraphSpec, service: ServiceSpec, names: Names, options: KubernetesOptions) -> dict[str, Any]:
    discovery = not isinstance(options.etcd, Bundled)
    container: dict[str, Any] = {
        "name": "main",
        "image": image_of(service, options),
        **command_line(spec, service, options),
        "env": environment(spec, service, names, options, discovery=discovery),
        "ports": ports(service, options),
        "resources": resources(service, options),
        **probes(service),
    }
    if options.image_pull_policy is not None:
        container["imagePullPolicy"] = options.image_pull_policy
    if options.env_secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_secrets]
    return container


def _framework(spec: GraphSpec) -> str | None:
    """The engine, where all services that name one name the same and the operator knows it."""
    engines = {service.config.get("engine") for service in spec.services} - {None}
    only = engines.pop() if len(engines) == 1 else None
    return only if only in _FRAMEWORKS else None


def _notes(options: KubernetesOptions, version: Version) -> Iterator[Note]:
    operator = "the operator makes the workloads, and this version has no word for it"
    for field, given in (
        ("stateful", options.stateful),
        ("volumes", options.volumes),
        ("autoscale", options.autoscale),
        ("ingress", options.ingress),
    ):
        if given:
            yield Note(field=field, reason=operator, instead="left out")
    if isinstance(options.etcd, Bundled):
        yield Note(field="etcd", reason="the operator names its own", instead="replicas read ETCD_ENDPOINTS")
    if version == "v1alpha1" and len(options.env_secrets) > 1:
        yield Note(
            field="env_secrets",
            reason="v1alpha1 takes variables from one Secret",
            instead=f"only {options.env_secrets[0]!r}",
        )
    if version == "v1alpha1" and options.gpu_resource != "nvidia.com/gpu":
        yield Note(field="gpu_resource", reason="v1alpha1 counts GPUs without a resource's name", instead="limits.gpu")
