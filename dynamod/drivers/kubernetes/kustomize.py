"""A Kustomize base: one file per object, for overlays to patch."""

from __future__ import annotations

from dynamod.drivers.kubernetes.manifests import Manifests
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.drivers.kubernetes.yaml_text import document, file_name


def base(made: Manifests, options: KubernetesOptions) -> dict[str, str]:
    """Texts by file name."""
    files = {file_name(one): document(one) for one in made.objects}
    kustomization: dict[str, object] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [file_name(one) for one in made.objects],
    }
    if options.namespace is not None:
        kustomization["namespace"] = options.namespace
    return files | {"kustomization.yaml": document(kustomization)}
