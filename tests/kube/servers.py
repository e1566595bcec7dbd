"""Images of an etcd and of a NATS server, made of the binaries that the package index has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.examples_image import DOCKER
from tests.servers import etcd_binary, nats_binary

ETCD_IMAGE = "dynamod-test/etcd:1"
NATS_IMAGE = "dynamod-test/nats:1"


def build_images(directory: Path) -> None:
    """Both, in an empty directory. The binaries are static: nothing else is in the images."""
    for image, binary, name in ((ETCD_IMAGE, etcd_binary(), "etcd"), (NATS_IMAGE, nats_binary(), "nats-server")):
        context = directory / name
        context.mkdir(parents=True)
        shutil.copy2(binary, context / name)
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY {name} /usr/local/bin/{name}\n")
        subprocess.run([DOCKER, "build", "-q", "-t", image, str(context)], check=True, capture_output=True, timeout=300)
