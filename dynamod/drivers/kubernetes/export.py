"""Export a graph for Kubernetes: `python -m dynamod.drivers.kubernetes.export --options FILE`.

The file holds `ExportOptions` as JSON. On stdout comes one JSON object: `{"files": {name: text}, "notes": […]}`, or
`{"error": …, "field": …, "remedy": …}` with exit code 2. Nothing is written here, and no cluster is asked.
"""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

from dynamo.sdk.spec import GraphSpec, SpecError, checked
from dynamod import program
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes import dynamo_graph, helm, kustomize
from dynamod.drivers.kubernetes.manifests import Manifests, manifests
from dynamod.drivers.kubernetes.notes import Note
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.drivers.kubernetes.yaml_text import document, file_name

Format = Literal["yaml", "kustomize", "helm", "dgd", "dgd-v1alpha1"]


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dgd` is NVIDIA's `DynamoGraphDeployment`, v1beta1."""

    spec: GraphSpec
    format: Format = "yaml"
    kubernetes: KubernetesOptions = KubernetesOptions()


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """Texts by file name, in the order in which they belong, and what they cannot say."""

    files: dict[str, str]
    notes: tuple[Note, ...]


def export(options: ExportOptions) -> Exported:
    """The same texts for the same options.

    Raises:
        Invalid: the options contradict the spec; the error names the field.
    """
    try:
        spec = checked(options.spec)
    except SpecError as error:
        raise Invalid(str(error), field="spec") from None
    made = _made(spec, options)
    if options.format == "helm":
        files = helm.chart(made, spec, options.kubernetes)
    elif options.format == "kustomize":
        files = kustomize.base(made, options.kubernetes)
    else:
        files = {file_name(one): document(one) for one in made.objects}
    return Exported(files=files, notes=made.notes)


def _made(spec: GraphSpec, options: ExportOptions) -> Manifests:
    if options.format == "dgd":
        return dynamo_graph.dynamo_graph(spec, options.kubernetes, "v1beta1")
    if options.format == "dgd-v1alpha1":
        return dynamo_graph.dynamo_graph(spec, options.kubernetes, "v1alpha1")
    if options.format == "helm":
        return helm.without_namespace(spec, options.kubernetes)
    return manifests(spec, options.kubernetes)


if __name__ == "__main__":
    sys.exit(program.run("dynamod.drivers.kubernetes.export", ExportOptions, export))
