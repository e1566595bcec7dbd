"""Container images of builds, made and pushed by a Docker engine through its SDK.

Everything here blocks: call it in a thread, or in a process of its own. The engine is the one of the
environment (`DOCKER_HOST`, `DOCKER_TLS_VERIFY`, …), credentials come from Docker's own store.
"""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dynamod.builds import archive, buildkit
from dynamod.builds.archive import Archive
from dynamod.builds.dockerfile import CA_FILE, dockerfile
from dynamod.builds.errors import BuildError
from dynamod.docker_engine import connect, first_line

if TYPE_CHECKING:
    from docker import DockerClient

SILENCE_TIMEOUT_S = 3600
"""A step may be silent for long: installing large packages prints nothing."""
LABEL_DIGEST = "ai.dynamo.build.digest"
LABEL_TAG = "ai.dynamo.build"
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
)

Step = Callable[[str], None]


class ImageError(BuildError):
    type = "image-error"


@dataclass(frozen=True)
class ImageOptions:
    """`name` is the image's name with its tag; `base` what it is made from (None: Python's official slim image).

    `gpu` None: as the graph asks. `ca` is a file of certificates for the package index, used while building only.
    """

    name: str
    base: str | None = None
    gpu: bool | None = None
    platform: str | None = None
    ca: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image that the engine holds. `size` in bytes, its base included."""

    name: str
    id: str
    size: int


def checked_image(name: str) -> str:
    """`[registry/]name[:tag]`.

    Raises:
        ImageError: it is none.
    """
    if not _IMAGE.fullmatch(name):
        raise ImageError(f"{name!r} is no name of an image", field="image", remedy="write [registry/]name[:tag]")
    return name


@contextmanager
def engine() -> Iterator[DockerClient]:
    """The Docker engine, once it has answered.

    Raises:
        NoEngine: it does not, or the SDK is missing.
    """
    client = connect(timeout=SILENCE_TIMEOUT_S)
    from docker.errors import DockerException

    try:
        yield client
    except OSError as error:
        raise ImageError(f"the Docker engine broke off: {first_line(error)}") from None
    except DockerException as error:
        raise ImageError(first_line(error)) from None
    finally:
        client.close()


def build_image(client: DockerClient, build: Archive, tree: Path, options: ImageOptions, step: Step) -> Image:
    """Make the image of an unpacked build; `step` hears of every step, and of what it prints.

    Raises:
        ImageError: a step failed; the message ends with its own words.
    """
    manifest = build.manifest
    arguments = {"BASE_IMAGE": options.base} if options.base is not None else {}
    labels = {**manifest.labels, **options.labels, LABEL_TAG: manifest.tag, LABEL_DIGEST: manifest.digest}
    by_buildkit = buildkit.is_there(client)
    text = dockerfile(build.spec, gpu=options.gpu, mounts="cache" if by_buildkit else "none")
    name = checked_image(options.name)
    if by_buildkit and options.base is not None:
        _fetch(client, options.base, step)
    with tempfile.TemporaryFile() as context:
        _write_context(context, tree, text, options.ca)
        context.seek(0)
        if by_buildkit:
            asked = {"t": name, "buildargs": arguments, "labels": labels, "platform": options.platform}
            _follow(buildkit.messages(client, context, asked), step)
        else:
            messages = client.api.build(
                fileobj=context,
                custom_context=True,
                dockerfile="Dockerfile",
                tag=name,
                buildargs=arguments,
                labels=labels,
                platform=options.platform,
                rm=True,
                forcerm=True,
                decode=True,
            )
            _follow(messages, step)
    made = client.images.get(options.name)
    return Image(options.name, str(made.id), int(made.attrs["Size"]))


def push_image(client: DockerClient, name: str, step: Step, *, source: str | None = None) -> None:
    """Push an image; `source` is the local one where it has another name.

    Raises:
        ImageError: there is no such image, or the registry refuses it.
    """
    repository, tag = _split(checked_image(name))
    if source is not None and source != name:
        client.images.get(source).tag(repository, tag=tag)
    else:
        client.images.get(name)
    _follow(client.api.push(repository, tag=tag, stream=True, decode=True), step)


def _fetch(client: DockerClient, base: str, step: Step) -> None:
    """With Docker's own logins, which the builder does not get to see."""
    from docker.errors import DockerException, ImageNotFound

    try:
        client.images.get(base)
    except ImageNotFound:
        step(f"fetching {base}")
        try:
            client.images.pull(*_split(base))
        except DockerException as error:
            raise ImageError(
                f"the base image {base} is not here and cannot be pulled: {first_line(error)}",
                remedy="name one that is there with --base-image",
            ) from None


def _split(name: str) -> tuple[str, str]:
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")


def _write_context(out: IO[bytes], tree: Path, text: str, ca: Path | None) -> None:
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add_bytes(tar, "Dockerfile", text.encode())
        if ca is not None:
            try:
                _add_bytes(tar, CA_FILE, ca.read_bytes())
            except OSError as error:
                raise ImageError(f"cannot read {ca}: {error.strerror}", field="ca") from None
        for name in (archive.LOCK, archive.WHEELS, archive.SOURCES):
            tar.add(tree / name, arcname=name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Owned by root and of one time, so that equal trees give equal layers; without byte code that runs left here."""
    if "/__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = archive.STAMP
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mtime = archive.STAMP
    tar.addfile(entry, io.BytesIO(data))


def _follow(messages: Iterable[Mapping[str, Any]], step: Step) -> None:
    """Tell of all messages, to the end: the SDK closes its connection then."""
    printed: list[str] = []
    failure = ""
    trace = buildkit.Trace(step)
    for message in messages:
        if message.get("id") == buildkit.TRACE:
            printed += trace.read(message["aux"])
            continue
        if "error" in message:
            failure = " ".join([*printed[-5:], str(message["error"]).strip()])
        text = str(message.get("stream") or message.get("status") or "").strip()
        if not text or message.get("progress"):
            continue
        if "stream" in message:
            printed.append(text)
        step(f"{text} {message['id']}" if "id" in message and "status" in message else text)
    if failure:
        raise ImageError(failure)
