"""Pushing to a real registry that wants a login, with the logins of Docker's own store."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from dynamod.builds import image
from dynamod.builds.image import ImageError, push_image

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

USER, PASSWORD = "team", "secret"
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}/data}}}}
http: {{addr: 127.0.0.1:{port}}}
auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}
"""


def program(cache: Path) -> str:
    """The registry: installed, or unpacked from Debian's package."""
    if found := shutil.which("docker-registry"):
        return found
    for command in (["apt-get", "download", "docker-registry"], ["sh", "-c", "dpkg -x docker-registry_*.deb ."]):
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            pytest.skip(f"NO REGISTRY: docker-registry is not installed, and {command[0]} says {done.stderr[-200:]}")
    return str(cache / "usr" / "bin" / "docker-registry")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    root = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "htpasswd").write_text(HTPASSWD)
    (root / "config.yml").write_text(CONFIG.format(root=root, port=port))
    serving = subprocess.Popen(
        [program(root), "serve", root / "config.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline
        assert serving.poll() is None
        time.sleep(0.05)
    yield f"localhost:{port}"
    serving.terminate()
    serving.wait(20)


@pytest.fixture
def name(registry: str, engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """An image that is called as one of the registry's."""
    made = f"{registry}/team/hello:1"
    engine.images.get(base_image).tag(f"{registry}/team/hello", tag="1")
    yield made
    engine.images.remove(made)


def logged_in(directory: Path, registry: str, password: str) -> None:
    """As `docker login` leaves it."""
    login = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {registry: {"auth": login}}}))


def test_the_stored_login_is_used(name: str, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    logged_in(tmp_path, registry, PASSWORD)
    steps: list[str] = []
    with image.engine() as client:
        push_image(client, name, steps.append)
    assert any("digest: sha256:" in step for step in steps)
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    asked = urllib.request.Request(
        f"http://{registry}/v2/team/hello/tags/list", headers={"Authorization": f"Basic {login}"}
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert json.load(answer)["tags"] == ["1"]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_without_the_right_login_it_is_refused(
    name: str, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    if password:
        logged_in(tmp_path, registry, password)
    with image.engine() as client, pytest.raises(ImageError, match=r"unauthorized|no basic auth credentials"):
        push_image(client, name, lambda _: None)
