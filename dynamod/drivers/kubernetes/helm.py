"""A Helm chart of a graph: images, replicas and resources are values, everything else is as the spec has it.

The release's namespace is where it is installed; objects keep the graph's names, so a namespace holds it once.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec
from dynamod.drivers.kubernetes.manifests import Manifests, manifests, names_of
from dynamod.drivers.kubernetes.naming import SERVICE, label_value
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.drivers.kubernetes.workloads import Object
from dynamod.drivers.kubernetes.yaml_text import document, file_name

_WORKLOADS = ("Deployment", "StatefulSet")


def chart(made: Manifests, spec: GraphSpec, options: KubernetesOptions) -> dict[str, str]:
    """Texts by file name, of the chart's own directory."""
    names = names_of(spec, options)
    services: dict[str, Any] = {}
    files: dict[str, str] = {}
    by_label = {label_value(service.name): service.name for service in spec.services}
    for one in made.objects:
        service = by_label.get(one["metadata"]["labels"].get(SERVICE, ""))
        expressions: dict[str, str] = {}
        if one["kind"] in _WORKLOADS and service is not None:
            one, services[service] = _opened(one, service, spec.service(service).image or "", expressions)
        files[f"templates/{file_name(one)}"] = _template(one, expressions)
    version = f"0.{options.revision or 1}.0"
    files["Chart.yaml"] = document(
        {
            "apiVersion": "v2",
            "name": names.base,
            "description": f"The graph {names.graph}",
            "type": "application",
            "version": version,
            "kubeVersion": ">=1.25.0-0",
        }
    )
    files["values.yaml"] = document({"image": options.image, "services": services})
    return files


def without_namespace(spec: GraphSpec, options: KubernetesOptions) -> Manifests:
    """The manifests that a chart is made of: Helm says where they go."""
    return manifests(spec, msgspec.structs.replace(options, namespace=None))


def _opened(one: Object, service: str, image: str, expressions: dict[str, str]) -> tuple[Object, dict[str, Any]]:
    """The workload with placeholders, and the values that stand for them."""
    opened = copy.deepcopy(one)
    values: dict[str, Any] = {"image": image}
    place = f"index .Values.services {_quoted(service)}"
    container = opened["spec"]["template"]["spec"]["containers"][0]
    values["resources"] = container["resources"]
    container["resources"] = _placeholder(expressions, f'{{{{ {place} "resources" | toJson }}}}')
    container["image"] = _placeholder(expressions, f'{{{{ {place} "image" | default .Values.image | quote }}}}')
    if "replicas" in opened["spec"]:
        values["replicas"] = opened["spec"]["replicas"]
        opened["spec"]["replicas"] = _placeholder(expressions, f'{{{{ {place} "replicas" }}}}')
    return opened, values


def _placeholder(expressions: dict[str, str], expression: str) -> str:
    token = f"HelmExpression{len(expressions)}End"
    expressions[token] = expression
    return token


def _template(one: Object, expressions: dict[str, str]) -> str:
    """The object's YAML with braces of its own kept from Helm, and the placeholders replaced."""
    text = document(one).replace("{{", '{{ "{{" }}')
    for token, expression in expressions.items():
        text = text.replace(f": {token}\n", f": {expression}\n")
    return text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
