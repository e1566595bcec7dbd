"""Images of builds, made by a real engine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from dynamod.builds import image
from dynamod.builds.image import ImageError, ImageOptions, build_image, push_image
from dynamod.builds.layout import Layout
from dynamod.builds.make import build
from dynamod.docker_engine import NoEngine
from dynamod.schema.builds import BuildOptions

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello_world"
NAME = "dynamod-test/hello:1"
MOST_OVER_BASE = 60_000_000


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A directory of builds with hello world in it."""
    home = tmp_path_factory.mktemp("builds")
    options = BuildOptions(
        target="hello_world:Frontend",
        output_dir=str(home / "out"),
        keep_in=str(home),
        tag="hello:1",
        working_dir=str(EXAMPLE),
        labels={"team": "tests"},
    )
    build(options, lambda _: None)
    return Layout(home)


@pytest.fixture(scope="module")
def made(engine: docker.DockerClient, base_image: str, layout: Layout) -> Iterator[tuple[image.Image, list[str]]]:
    """The image of hello world, and the steps that were told."""
    kept = layout.find("hello", "1")
    assert kept is not None
    opened, tree = layout.unpack(kept.path, lambda _: None)
    steps: list[str] = []
    options = ImageOptions(name=NAME, base=base_image)
    yield build_image(engine, opened, tree, options, steps.append), steps
    engine.images.remove(NAME, force=True)


def test_an_image_is_small_unprivileged_labelled_and_told_step_by_step(
    engine: docker.DockerClient, base_image: str, made: tuple[image.Image, list[str]]
) -> None:
    found, steps = made
    assert found.size - engine.images.get(base_image).attrs["Size"] <= MOST_OVER_BASE
    assert any("COPY src /srv/graph" in step for step in steps)
    config = engine.images.get(NAME).attrs["Config"]
    assert config["User"] == "10001"
    assert config["Labels"]["team"] == "tests"
    assert config["Labels"][image.LABEL_TAG] == "hello:1"
    assert len(config["Labels"][image.LABEL_DIGEST]) == 64
    assert config["Labels"]["ai.dynamo.variant"] == "cpu"


@pytest.mark.usefixtures("made")
def test_its_replica_program_runs_as_nobody_special(engine: docker.DockerClient) -> None:
    script = "import os, dynamo.sdk.replica, hello_world; print(os.getuid(), os.getcwd(), hello_world.Frontend.name)"
    printed = engine.containers.run(NAME, ["-c", script], entrypoint="python", remove=True, read_only=True)
    assert printed.decode().split() == ["10001", "/srv/graph", "Frontend"]
    helped = engine.containers.run(NAME, ["--help"], remove=True)
    assert b"--service-name" in helped


def test_a_step_that_fails_ends_with_its_own_words(
    engine: docker.DockerClient, base_image: str, layout: Layout, tmp_path: Path
) -> None:
    kept = layout.find("hello", "1")
    assert kept is not None
    opened, tree = layout.unpack(kept.path, lambda _: None)
    broken = tmp_path / "tree"
    for part in ("src", "wheels"):
        (broken / part).mkdir(parents=True)
    (broken / "requirements.lock").write_text("this is no requirement\n")
    (broken / "wheels" / "none.whl").write_bytes(b"")
    with pytest.raises(ImageError, match="requirement"):
        build_image(engine, opened, broken, ImageOptions(name="dynamod-test/broken:1", base=base_image), lambda _: None)
    with pytest.raises(ImageError):
        build_image(engine, opened, tree, ImageOptions(name="dynamod-test/x:1", base="scratch-nothing"), lambda _: None)
    with pytest.raises(ImageError, match="is no name of an image"):
        build_image(engine, opened, tree, ImageOptions(name="No Name", base=base_image), lambda _: None)


@pytest.mark.usefixtures("made")
def test_a_registry_that_refuses_is_an_error_and_an_unknown_image_too(engine: docker.DockerClient) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as registry:
        thread = threading.Thread(target=registry.serve_forever)
        thread.start()
        name = f"localhost:{registry.server_address[1]}/team/hello:1"
        try:
            with pytest.raises(ImageError, match=r"(?i)denied|forbidden|403"):
                push_image(engine, name, lambda _: None, source=NAME)
        finally:
            registry.shutdown()
            thread.join()
            engine.images.remove(name)
    with image.engine() as client, pytest.raises(docker.errors.ImageNotFound):
        push_image(client, "dynamod-test/none:1", lambda _: None)


def test_no_engine_leaves_the_dockerfile(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynamod.builds.containerize import containerize
    from dynamod.schema.builds import ContainerizeOptions

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(NoEngine, match="no Docker engine answers at unix:///nowhere") as refused:
        containerize(ContainerizeOptions(build="hello:1", builds_dir=str(layout.home)))
    words = str(refused.value).split()
    dockerfile = Path(next(word for word in words if word.endswith("Dockerfile,")).rstrip(","))
    assert dockerfile.read_text().startswith("# Made by")
