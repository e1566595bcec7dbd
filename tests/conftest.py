"""Fixtures that several suites share."""

from tests.kube_cluster import built, kubeconfig, pods_etcd
from tests.postgres import empty_postgres, postgres

__all__ = ["built", "empty_postgres", "kubeconfig", "pods_etcd", "postgres"]
