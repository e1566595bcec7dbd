"""Manifests for commands that show or write them: options, and the program that makes them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from dynamo.sdk import spec as graph_spec
from dynamo.sdk.spec import GraphSpec, SpecError
from dynamo_tui.cli import targets
from dynamo_tui.cli.exits import UserError

TIMEOUT_S = 120.0
EXIT_S = 10.0


class Note(msgspec.Struct, frozen=True):
    """What has no equivalent: the spec's field, why, and what stands in its place."""

    field: str
    reason: str
    instead: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}; {self.instead}"


class Exported(msgspec.Struct, frozen=True):
    """Texts by file name, and what they cannot say."""

    files: dict[str, str]
    notes: list[Note]

    def text(self) -> str:
        """All of them as one stream of YAML documents."""
        return "---\n".join(self.files.values())


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    field: str | None = None
    remedy: str | None = None


def kubernetes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that manifests are made with; the command gets them together as `kubernetes`."""

    @functools.wraps(function)
    def with_options(*args: Any, **params: Any) -> Any:
        said = {name: params.pop(name) for name in _NAMES}
        return function(*args, kubernetes=_together(said), **params)

    for decorate in reversed(_OPTIONS):
        with_options = decorate(with_options)
    return with_options


def placement_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and which cluster, for commands that leave the rest to the daemon; the source has them then.

    The daemon may have been started elsewhere: a `KUBECONFIG` of ours is told to it, unless there is no cluster in
    the request at all.
    """

    @functools.wraps(function)
    def with_placement(*args: Any, **params: Any) -> Any:
        said = {name: params.pop(name) for name in _NAMES if name in params}
        there = {name: params.pop(name) for name in ("kubeconfig", "context", "reach")}
        options = _together({"project": None, **said} | there)
        if params.pop("force_fields"):
            options["force"] = True
        on_cluster = "kubernetes" in (params.get("driver"), params.get("place"))
        if on_cluster and "kubeconfig" not in options and (given := os.environ.get("KUBECONFIG")):
            options["kubeconfig"] = str(Path(given).absolute())
        return function(*args, kubernetes=options, **params)

    for decorate in reversed(
        (*(o for name, o in zip(_NAMES, _OPTIONS, strict=True) if name != "project"), *_PLACEMENT)
    ):
        with_placement = decorate(with_placement)
    return with_placement


def asked_of(source: targets.Source, kubernetes: dict[str, Any]) -> dict[str, Any]:
    """The spec and the options, as the programs of the Kubernetes driver read them. Raises `UserError` as `export`."""
    named = {} if source.name is None else {"graph": source.name}
    envs = kubernetes.get("envs", {}) | source.envs
    return {"spec": _spec(source), "kubernetes": kubernetes | named | ({"envs": envs} if envs else {})}


def on_cluster(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Have something done on a cluster: what the program tells, as it comes. It ends with the command."""
    with _handed_over(asked) as path:
        command = [sys.executable, "-m", "dynamod.drivers.kubernetes.deploy", "--options", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
            try:
                for line in program.stdout or ():
                    message = msgspec.json.decode(line)
                    if "done" in message or "error" in message:  # the last: let it end by itself
                        program.wait(EXIT_S)
                    yield message
            finally:
                program.terminate()


@contextmanager
def _handed_over(asked: dict[str, Any]) -> Iterator[str]:
    """A private file with the options, for as long as a program needs it."""
    descriptor, path = tempfile.mkstemp(prefix="dynamo-kubernetes-", suffix=".json")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(asked))
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def export(source: targets.Source, form: str, kubernetes: dict[str, Any]) -> Exported:
    """Have the manifests made.

    Raises:
        UserError: the graph is not sound, or the options contradict it; one line.
    """
    asked = asked_of(source, kubernetes) | {"format": form}
    try:
        with _handed_over(asked) as path:
            done = subprocess.run(
                [sys.executable, "-m", "dynamod.drivers.kubernetes.export", "--options", path],
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise UserError(f"making the manifests took longer than {TIMEOUT_S:.0f} s") from None
    try:
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=Exported)
        refusal = msgspec.json.decode(done.stdout, type=_Refusal)
    except msgspec.DecodeError:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"the manifests could not be made: {lines[-1]}") from None
    where = f"{refusal.field}: " if refusal.field else ""
    raise UserError(f"{where}{refusal.error}", remedy=refusal.remedy or "")


def _spec(source: targets.Source) -> GraphSpec:
    """The spec of a `.json` file as it is, else of the code."""
    if not source.target.endswith(".json"):
        return source.spec()
    try:
        return graph_spec.decode(Path(source.target).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {source.target}: {error.strerror}") from None
    except SpecError as error:
        raise UserError(f"{source.target}: {error}") from None


def _together(said: dict[str, Any]) -> dict[str, Any]:
    """The options as the program reads them: the file's, and what the command line says over them."""
    options = _from_file(said.pop("options_file"))
    for kind in ("etcd", "nats"):
        image = said.pop(f"{kind}_image")
        if image is not None:
            said[kind] = {"image": image}
    options |= {name: value for name, value in said.items() if value not in (None, (), {})}
    return options


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        read = yaml.safe_load(Path(path).read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(read, dict):
        raise UserError(f"{path} holds no mapping of options")
    return read


def _replicas(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    pairs = targets.key_value(context, parameter, values)
    for service, count in pairs.items():
        if not count.isdecimal():
            raise click.BadParameter(f"{service}={count}: write it as SERVICE=NUMBER", param=parameter)
    return {service: int(count) for service, count in pairs.items()}


_OPTIONS = (
    click.option("--image", metavar="IMAGE", help="The image that holds the graph, for services that name none."),
    click.option("--namespace", metavar="NAME", help="The namespace; that of whoever applies it by default."),
    click.option("--project", metavar="NAME", help="The project."),
    click.option("--replicas", metavar="SERVICE=N", multiple=True, callback=_replicas, help="How many it has."),
    click.option(
        "--etcd", metavar="URL", callback=targets.discovery_url, help="An etcd that exists, instead of one of its own."
    ),
    click.option("--etcd-image", metavar="IMAGE", help="The image of its own etcd."),
    click.option("--nats", metavar="URL", help="A NATS server that exists."),
    click.option("--nats-image", metavar="IMAGE", help="Run a NATS server of its own, with this image."),
    click.option(
        "--request-plane", type=click.Choice(["stream", "nats"]), help="How requests travel.  [default: stream]"
    ),
    click.option(
        "--env-from-secret", "env_secrets", metavar="NAME", multiple=True, help="A secret whose keys become variables."
    ),
    click.option(
        "--secret-env",
        "secret_envs",
        metavar="K=SECRET/KEY",
        multiple=True,
        callback=targets.key_value,
        help="A variable from one key of a secret.",
    ),
    click.option("--stateful", metavar="SERVICE", multiple=True, help="Let its replicas keep their names."),
    click.option(
        "--pull-policy",
        "image_pull_policy",
        type=click.Choice(["Always", "IfNotPresent", "Never"]),
        help="When images are pulled.",
    ),
    click.option(
        "--options",
        "options_file",
        type=click.Path(dir_okay=False, exists=True),
        help="All options of docs/kubernetes.md, YAML; the command line wins.",
    ),
)
_PLACEMENT = (
    click.option(
        "--kubeconfig",
        type=click.Path(dir_okay=False, exists=True, resolve_path=True),
        help="The kubeconfig, on the daemon's machine.  [default: $KUBECONFIG, else ~/.kube/config]",
    ),
    click.option("--kube-context", "context", metavar="NAME", help="Its context; the current one by default."),
    click.option(
        "--reach",
        type=click.Choice(["auto", "direct", "tunnel"]),
        help="How the daemon reaches pods: at their address, or through the API server.  [default: auto]",
    ),
    click.option("--force-fields", is_flag=True, help="Take over fields of objects that somebody else manages."),
)
_NAMES = (
    "image",
    "namespace",
    "project",
    "replicas",
    "etcd",
    "etcd_image",
    "nats",
    "nats_image",
    "request_plane",
    "env_secrets",
    "secret_envs",
    "stateful",
    "image_pull_policy",
    "options_file",
)
