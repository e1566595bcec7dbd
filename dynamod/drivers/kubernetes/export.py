"""Export a graph for Kubernetes: `python -m dynamod.drivers.kubernetes.export --options FILE`.

The file holds `ExportOptions` as JSON. On stdout comes one JSON object: `{"files": {name: text}, "notes": […]}`, or
`{"error": …, "field": …, "remedy": …}` with exit code 2. Nothing is written here, and no cluster is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dynamo.sdk.spec import GraphSpec, SpecError, checked
from dynamod.core.errors import EngineError, Invalid
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


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2 or given[0] != "--options":
        sys.stderr.write("usage: python -m dynamod.drivers.kubernetes.export --options FILE\n")
        return 2
    try:
        options = msgspec.json.decode(Path(given[1]).read_bytes(), type=ExportOptions)
        _tell(export(options))
    except (OSError, msgspec.DecodeError) as error:
        _tell({"error": str(error), "field": None, "remedy": None})
        return 2
    except EngineError as error:
        _tell({"error": error.detail, "field": error.field, "remedy": error.remedy})
        return 2
    return 0


def _tell(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
