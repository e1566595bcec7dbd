"""What a manifest needs to know beside the spec. Plain data, read from JSON as well."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

SecretKey = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-._a-zA-Z0-9]+$")]
"""`secret/key`."""
HostName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1024)]


class Bundled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server of the graph's own, one pod. It keeps nothing beyond that pod: what it holds lives as long as leases."""

    image: str


class Volume(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim for each replica of a service, mounted at `path`. `size` is a quantity, e.g. `100Gi`."""

    path: Annotated[str, msgspec.Meta(pattern=r"^/[^:]+$")]
    size: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|Ti)?$")]
    storage_class: HostName | None = None


class Autoscale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cpu_percent`: the mean use of the CPU requested that is aimed at."""

    minimum: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    maximum: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    cpu_percent: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 80


class Ingress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The entry service at `host`. `tls_secret` names a Secret with the certificate."""

    host: HostName
    class_name: HostName | None = None
    tls_secret: HostName | None = None
    annotations: dict[str, str] = {}


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`image` serves every service that names none of its own.

    `etcd` is where replicas find each other: a server bundled with the graph, or the URL of one that exists
    (`etcd://host:2379[,host:2379]`). `nats` likewise (`nats://host:4222`), or None where no request goes over it.
    `stateful` names services whose replicas keep their name (StatefulSets); those with `volumes` do anyway.
    `env_secrets` are Secrets whose every key becomes a variable; `secret_envs` take one key each.
    `gpu_share_resource` is what a fraction of a GPU asks for, where the cluster shares devices under a name of its
    own (time slicing, MIG); otherwise a fraction takes a whole device.
    `run_as_user` None keeps the image's own user.
    """

    image: str = ""
    project: str = "default"
    graph: str | None = None
    revision: int | None = None
    namespace: HostName | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    image_pull_secrets: tuple[HostName, ...] = ()
    envs: dict[str, str] = {}
    env_secrets: tuple[HostName, ...] = ()
    secret_envs: dict[str, SecretKey] = {}
    replicas: dict[str, Count] = {}
    etcd: Bundled | Annotated[str, msgspec.Meta(pattern=r"^etcds?://[^/\s]+$")] = Bundled(
        image="quay.io/coreos/etcd:v3.5.21"
    )
    nats: Bundled | Annotated[str, msgspec.Meta(pattern=r"^(nats|tls)://[^/\s]+$")] | None = None
    request_plane: Literal["stream", "nats"] = "stream"
    stateful: tuple[str, ...] = ()
    volumes: dict[str, Volume] = {}
    autoscale: dict[str, Autoscale] = {}
    ingress: Ingress | None = None
    gpu_resource: str = "nvidia.com/gpu"
    gpu_share_resource: str | None = None
    run_as_user: Annotated[int, msgspec.Meta(ge=1)] | None = 10001
    system_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 9090
    disruption_budgets: bool = True


class ClusterOptions(KubernetesOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same for a graph that the daemon keeps on a cluster.

    `kubeconfig` is a file on the daemon's machine, None for the pod that it runs in. `force` takes fields that others
    manage. `reach`: how pods are asked for metrics and what they serve: at their own address, through the API server
    (`tunnel`), or whichever works (`auto`).
    """

    kubeconfig: str | None = None
    context: str | None = None
    force: bool = False
    reach: Literal["auto", "direct", "tunnel"] = "auto"
