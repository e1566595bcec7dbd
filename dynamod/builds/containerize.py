"""Make, and push, the image of a build, as a program: `python -m dynamod.builds.containerize --options FILE`.

Progress goes as JSON lines to stdout, the last one `{"image": name, "id": …, "size": …}`, or `{"error": …}`
with exit code 2. Where no engine answers, the error says where the Dockerfile is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dynamod.builds.archive import DOCKERFILE
from dynamod.builds.errors import BuildError
from dynamod.builds.image import ImageOptions, build_image, checked_image, engine, push_image
from dynamod.builds.layout import Layout
from dynamod.docker_engine import NoEngine
from dynamod.program import run, tell
from dynamod.schema.builds import ContainerizeOptions, PushOptions
from dynamod.schema.references import is_archive


def containerize(options: ContainerizeOptions) -> dict[str, object]:
    """Do what the options say; what the last line tells.

    Raises:
        BuildError: one line: what failed, on what, what to do.
    """
    layout = Layout(Path(options.builds_dir))
    opened, tree = layout.unpack(_archive(layout, options.build), _step)
    name = checked_image(options.image or opened.manifest.tag)
    try:
        with engine() as client:
            image = build_image(
                client,
                opened,
                tree,
                ImageOptions(
                    name=name,
                    base=options.base_image,
                    gpu=options.gpu,
                    platform=options.platform,
                    ca=Path(options.ca) if options.ca is not None else None,
                    labels=options.labels,
                ),
                _step,
            )
            if options.push:
                push_image(client, name, _step)
    except NoEngine as error:
        raise NoEngine(
            f"{error.detail}; the Dockerfile is {tree / DOCKERFILE}, its context {tree}", remedy=error.remedy
        ) from None
    return {"image": image.name, "id": image.id, "size": image.size}


def push(options: PushOptions) -> dict[str, object]:
    """Push an image; what the last line tells.

    Raises:
        ImageError: there is no such image, or the registry refuses it.
    """
    with engine() as client:
        push_image(client, options.image, _step, source=options.source)
    return {"image": options.image}


def _archive(layout: Layout, build: str) -> Path:
    if is_archive(build):
        return Path(build)
    name, _, version = build.partition(":")
    kept = layout.find(name, version or None)
    if kept is None:
        raise BuildError(f"there is no build {build!r} here", field="build", remedy="list them: dynamoctl builds ls")
    return kept.path


def _step(text: str) -> None:
    tell({"step": text})


def _answer(options: ContainerizeOptions | PushOptions) -> dict[str, object]:
    return push(options) if isinstance(options, PushOptions) else containerize(options)


if __name__ == "__main__":
    sys.exit(run("dynamod.builds.containerize", ContainerizeOptions | PushOptions, _answer))
