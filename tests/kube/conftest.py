"""A real cluster, an image of the examples, and an etcd that pods can reach."""

from tests.kube_cluster import built, cluster, etcd, kubeconfig, namespace, options

__all__ = ["built", "cluster", "etcd", "kubeconfig", "namespace", "options"]
