"""An image of the SDK and the examples, made of what is installed here: no registry and no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DOCKER = "/usr/bin/docker"


def build(tag: str, base: str, directory: Path) -> None:
    """Build it from `base`, whose Python is the running one, in an empty directory."""
    packages = directory / "packages"
    packages.mkdir(parents=True)
    for name in sorted(_needed("dynamod", {"etcd", "nats"})):
        _copy(name, packages)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sdk" / "dynamo", packages / "dynamo", ignore=ignored)
    shutil.copytree(ROOT / "examples" / "hello_world", directory / "src", ignore=ignored)
    shutil.copytree(ROOT / "examples" / "llm", directory / "src", ignore=ignored, dirs_exist_ok=True)
    (directory / "Dockerfile").write_text(
        f"FROM {base}\nCOPY packages /opt/graph\nCOPY src /srv/graph\nWORKDIR /srv/graph\n"
        "ENV PYTHONPATH=/opt/graph PYTHONDONTWRITEBYTECODE=1 HOME=/tmp\nUSER 10001\n"
    )
    subprocess.run([DOCKER, "build", "-q", "-t", tag, str(directory)], check=True, timeout=300, capture_output=True)


def _needed(package: str, extras: set[str]) -> set[str]:
    """The distributions that a package needs to run here, transitively; without the package itself."""
    found: set[str] = set()
    queue = [(package, frozenset(extras))]
    while queue:
        name, wanted = queue.pop()
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*wanted, "")
            )
            if applies and requirement.name not in found:
                found.add(requirement.name)
                queue.append((requirement.name, frozenset(requirement.extras)))
    return found


def _copy(name: str, target: Path) -> None:
    site = Path(sysconfig.get_path("purelib"))
    assert sys.prefix in str(site)
    for file in distribution(name).files or []:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(site / file, target / file)


if __name__ == "__main__":
    build(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
