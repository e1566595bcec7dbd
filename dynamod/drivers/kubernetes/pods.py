"""The pod that runs one replica of a service: command line, environment, probes, rights."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes.naming import CONFIG, CONFIG_DIGEST, ETCD, NATS, SECRETS, Names, is_key, split_labels
from dynamod.drivers.kubernetes.options import Bundled, KubernetesOptions
from dynamod.drivers.kubernetes.probes import HTTP, SYSTEM, probes
from dynamod.drivers.kubernetes.resources import resources
from dynamod.schema.secrecy import is_secret_name

SERVICE_CONFIG = "DYNAMO_SERVICE_CONFIG"
DEFAULT_HTTP_PORT = 8000
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a pod is reached at its own address
MAX_VARIABLE = 131_071
"""Bytes of one `NAME=value` that Linux passes to a program (MAX_ARG_STRLEN, less the closing zero)."""
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
GRACE_S = 5
"""Beyond the drain timeout, for the shutdown hooks and the exit."""


def pod_template(spec: GraphSpec, service: ServiceSpec, names: Names, options: KubernetesOptions) -> dict[str, Any]:
    """The `template` of a Deployment or StatefulSet.

    Raises:
        Invalid: there is no image for the service, or its configuration is too long for a variable.
    """
    labels, unfit = split_labels(service.labels)
    volumes, mounts = _scratch(service, options)
    container: dict[str, Any] = {
        "name": "main",
        "image": image_of(service, options),
        **command_line(spec, service, options),
        "env": environment(spec, service, names, options),
        "ports": ports(service, options),
        "resources": resources(service, options),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
        **probes(service),
    }
    if options.image_pull_policy is not None:
        container["imagePullPolicy"] = options.image_pull_policy
    if options.env_secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in options.env_secrets]
    return {
        "metadata": {
            "labels": labels | names.labels(service.name),
            "annotations": {key: value for key, value in unfit.items() if is_key(key)}
            | {CONFIG_DIGEST: hashlib.sha256(config_text(spec).encode()).hexdigest()},
        },
        "spec": _pod(service, container, volumes, names, options),
    }


def is_stateful(service: ServiceSpec, options: KubernetesOptions) -> bool:
    """Do its replicas keep their names over restarts?"""
    return service.name in options.stateful or service.name in options.volumes


def image_of(service: ServiceSpec, options: KubernetesOptions) -> str:
    """Raises `Invalid` where neither the service nor the options name one."""
    image = service.image or options.image
    if not image:
        raise Invalid(
            f"service {service.name!r} has no image: a cluster cannot run a working tree",
            field="image",
            remedy="make one with `dynamoctl build` and `dynamoctl containerize`, and name it with --image",
        )
    return image


def config_text(spec: GraphSpec) -> str:
    """The merged configuration as replicas read it; the same text for the same configuration.

    Raises:
        Invalid: too long for a variable.
    """
    text = msgspec.json.encode(spec.config, order="deterministic").decode()
    if len(SERVICE_CONFIG) + 1 + len(text.encode()) > MAX_VARIABLE:
        raise Invalid(
            f"the configuration is {len(text.encode())} bytes long, and a variable holds {MAX_VARIABLE}",
            field="config",
            remedy="move large values into files of the image",
        )
    return text


def http_port(service: ServiceSpec) -> int | None:
    """The port of its HTTP face; any free one is a fixed one here, since a pod has all ports to itself."""
    return DEFAULT_HTTP_PORT if service.http_port == 0 else service.http_port


def system_port(service: ServiceSpec, options: KubernetesOptions) -> int:
    """The port of the system app, beside the service's own."""
    if options.system_port != http_port(service):
        return options.system_port
    return options.system_port - 1 if options.system_port == 65535 else options.system_port + 1


def ports(service: ServiceSpec, options: KubernetesOptions) -> list[dict[str, Any]]:
    """The container's ports. The request plane's is not among them: peers learn it from discovery."""
    found = [{"name": SYSTEM, "containerPort": system_port(service, options), "protocol": "TCP"}]
    if (port := http_port(service)) is not None:
        found.insert(0, {"name": HTTP, "containerPort": port, "protocol": "TCP"})
    return found


def environment(
    spec: GraphSpec, service: ServiceSpec, names: Names, options: KubernetesOptions, *, discovery: bool = True
) -> list[dict[str, Any]]:
    """The container's variables: the graph's, the service's, the options', then the replica contract's.

    What goes under a secret's name is never written down: it refers to a Secret that whoever applies this makes.
    `discovery` False leaves out where replicas meet, for those who are told by somebody else.

    Raises:
        Invalid: a name that no pod can have.
    """
    plain = spec.envs | service.envs | options.envs
    for name in (*plain, *options.secret_envs):
        if _VARIABLE.fullmatch(name) is None:
            raise Invalid(f"{name!r} cannot be a variable's name in a pod", field=f"services.{service.name}.envs")
    env: list[dict[str, Any]] = [{"name": "PYTHONUNBUFFERED", "value": "1"}] if "PYTHONUNBUFFERED" not in plain else []
    contract = _contract(service, names, options, discovery=discovery)
    given = {entry["name"] for entry in contract} | set(options.secret_envs)
    for name, value in sorted(plain.items()):
        if name in given:
            continue
        if value and is_secret_name(name):
            env.append(_secret(name, names.own(SECRETS), name))
        else:
            env.append({"name": name, "value": _literal(value)})
    for name, reference in sorted(options.secret_envs.items()):
        secret, _, key = reference.partition("/")
        env.append(_secret(name, secret, key))
    return env + contract


def secret_names(spec: GraphSpec, options: KubernetesOptions) -> list[str]:
    """The variables that the graph's own Secret must hold."""
    found: set[str] = set()
    for envs in (spec.envs, options.envs, *(service.envs for service in spec.services)):
        found |= {name for name, value in envs.items() if value and is_secret_name(name)}
    return sorted(found - set(options.secret_envs))


def _contract(
    service: ServiceSpec, names: Names, options: KubernetesOptions, *, discovery: bool
) -> list[dict[str, Any]]:
    """See docs/internals/replica-contract.md."""
    env: list[dict[str, Any]] = [
        _field("DYN_REPLICA_ID", "metadata.name"),
        # Pods of one node share its boot id and no files: without this they would look for each other's sockets.
        _field("DYN_HOST_ID", "metadata.uid"),
        _field("DYN_TCP_HOST", "status.podIP"),
        # A port that is forwarded ends at the pod's loopback: that is how a daemon outside of the cluster gets in.
        {"name": "DYN_TCP_ANY", "value": "true"},
        {"name": "DYN_SCOPE", "value": _literal(f"{names.project}/{names.graph}")},
        {"name": "DYN_REQUEST_PLANE", "value": options.request_plane},
        {"name": "DYNAMO_SYSTEM_APP_ENABLED", "value": "true"},
        {"name": "DYNAMO_SYSTEM_APP_HOST", "value": ANY_ADDRESS},
        {"name": "DYNAMO_SYSTEM_APP_PORT", "value": str(system_port(service, options))},
        {
            "name": SERVICE_CONFIG,
            "valueFrom": {"configMapKeyRef": {"name": names.own(CONFIG), "key": SERVICE_CONFIG}},
        },
    ]
    if discovery:
        etcd = f"etcd://{names.own(ETCD)}:2379" if isinstance(options.etcd, Bundled) else options.etcd
        env.append({"name": "DYN_DISCOVERY", "value": etcd})
        if options.nats is not None:
            nats = f"nats://{names.own(NATS)}:4222" if isinstance(options.nats, Bundled) else options.nats
            env.append({"name": "NATS_SERVER", "value": nats})
    if (port := http_port(service)) is not None:
        env += [{"name": "DYNAMO_HOST", "value": ANY_ADDRESS}, {"name": "DYNAMO_PORT", "value": str(port)}]
    if service.resources.gpu == 0:
        # The device plugin of some clusters shows every device to a container that asks for none.
        env += [{"name": "CUDA_VISIBLE_DEVICES", "value": ""}, {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    return env


def _pod(
    service: ServiceSpec,
    container: Mapping[str, Any],
    volumes: list[dict[str, Any]],
    names: Names,
    options: KubernetesOptions,
) -> dict[str, Any]:
    rights: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if options.run_as_user is not None:
        rights |= {
            "runAsNonRoot": True,
            "runAsUser": options.run_as_user,
            "runAsGroup": options.run_as_user,
            "fsGroup": options.run_as_user,
        }
    pod: dict[str, Any] = {
        "serviceAccountName": names.base,
        # A replica never talks to the cluster's API.
        "automountServiceAccountToken": False,
        # A Service called dynamo would otherwise put its own address into DYNAMO_PORT.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(service.drain_timeout) + GRACE_S,
        "securityContext": rights,
        "containers": [dict(container)],
        "volumes": volumes,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": names.selector(service.name)},
            }
        ],
    }
    if options.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
    return pod


def command_line(spec: GraphSpec, service: ServiceSpec, options: KubernetesOptions) -> dict[str, list[str]]:
    """`command` and `args`; the service's own overrides win.

    The replicas of a Deployment are alike and have no number. Those of a StatefulSet have the pod's ordinal, which
    no field reference gives before Kubernetes 1.28.
    """
    said = service.kubernetes_overrides
    command = ["python", "-m", "dynamo.sdk.replica", spec.target or service.target]
    arguments = ["--service-name", service.name]
    if is_stateful(service, options) and not said:
        words = _literal(shlex.join([*command, *arguments]))
        return {"command": ["sh", "-c", f'exec {words} --worker-id "$((${{HOSTNAME##*-}} + 1))"']}
    return {
        "command": list(said.get("entrypoint") or command),
        "args": list(said.get("cmd") or [*arguments, "--worker-id", "1"]),
    }


def _scratch(service: ServiceSpec, options: KubernetesOptions) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts: sockets and temporary files, and shared memory for the processes of a GPU engine."""
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a directory of the pod's own
    if service.resources.gpu > 0:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    if (volume := options.volumes.get(service.name)) is not None:
        mounts.append({"name": "data", "mountPath": volume.path})
    return volumes, mounts


def _secret(name: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _literal(text: str) -> str:
    """`$(NAME)` would be replaced by the kubelet; `$$` keeps a dollar as it is."""
    return text.replace("$(", "$$(")
