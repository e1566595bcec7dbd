"""A namespace of its own on a real cluster for every test here."""

from tests.kube_cluster import cluster, namespace, options

__all__ = ["cluster", "namespace", "options"]
