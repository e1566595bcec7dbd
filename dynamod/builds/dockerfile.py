"""The Dockerfile of a build: multi-stage, non-root, from a base image that whoever builds it may choose.

It asks nothing of its base but Python with pip and a shell. The text in the archive is for `docker build`: downloads
are kept in a cache mount, and a CA bundle for networks that need one of their own comes as a secret. Through the
engine's API there are no secrets, and with its classic builder no mounts at all: there the bundle stands in the build
context, and never gets beyond the first stage.
"""

from __future__ import annotations

from typing import Literal

from dynamo.sdk.spec import GraphSpec

CA_FILE = "ca.pem"
"""The CA bundle in a build context without mounts."""
USER = 10001

_TEMPLATE = """\
# Made by `dynamoctl build`. The build context is the unpacked archive.
ARG BASE_IMAGE=python:{python}-slim
FROM ${{BASE_IMAGE}} AS packages
WORKDIR /build
COPY {copied} ./
COPY wheels ./wheels
RUN {mounts}if [ -s {ca} ]; then export PIP_CERT={ca}; fi; \\
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore{pip_cache} && \\
    python -m venv --without-pip /opt/graph && \\
    python -m pip --python /opt/graph install --quiet --require-hashes -r requirements.lock && \\
    python -m pip --python /opt/graph install --quiet --no-deps wheels/*.whl
# Test suites inside of packages are a quarter of what would be shipped.
RUN python -c "import pathlib, shutil; \\
    [shutil.rmtree(p, True) for p in sorted(pathlib.Path('/opt/graph/lib').rglob('tests')) if p.is_dir()]"

FROM ${{BASE_IMAGE}}
LABEL org.opencontainers.image.title="{name}" ai.dynamo.graph="{name}" ai.dynamo.target="{target}" \\
    ai.dynamo.variant="{variant}"
RUN python -c "open('/etc/passwd', 'a').write('graph:x:{user}:{user}::/tmp:/usr/sbin/nologin\\n')"
COPY --from=packages /opt/graph /opt/graph
COPY src /srv/graph
# Base images ship the standard library without byte code: what every start would compile is compiled here.
RUN /opt/graph/bin/python -m compileall -q /srv/graph; /opt/graph/bin/python -c "import importlib; \\
    [importlib.import_module(name) for name in {modules}]"
WORKDIR /srv/graph
ENV PATH=/opt/graph/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp{gpu_environment}
USER {user}
ENTRYPOINT ["python", "-m", "dynamo.sdk.replica", "{target}"]
"""
Mounts = Literal["cache and secret", "cache", "none"]

_STARTED = ("dynamo.sdk.replica", "dynamo.sdk.serving.replica_life", "dynamo.sdk.serving.http_app", "uvicorn")
"""What a replica imports before any code of its graph."""

_CACHE, _SECRET = "--mount=type=cache,target=/root/.cache/pip ", "--mount=type=secret,id=ca "
_MOUNTS: dict[Mounts, str] = {"cache and secret": f"{_CACHE}{_SECRET}\\\n    ", "cache": _CACHE, "none": ""}


def wants_gpu(spec: GraphSpec) -> bool:
    return any(service.resources.gpu for service in spec.services)


def dockerfile(spec: GraphSpec, *, gpu: bool | None = None, mounts: Mounts = "cache and secret") -> str:
    """The text for one graph. One image serves all of its services: which one is the replica's argument.

    Args:
        gpu: let NVIDIA's container runtime show devices in it; None: when a service asks for one.
        mounts: those that the builder has; see above.
    """
    python = spec.python_version or "3.11"
    secret = mounts == "cache and secret"
    with_gpu = wants_gpu(spec) if gpu is None else gpu
    return _TEMPLATE.format(
        python=".".join(python.split(".")[:2]),
        name=spec.name,
        target=spec.target,
        user=USER,
        modules=_STARTED,
        copied="requirements.lock" if secret else f"requirements.lock {CA_FILE}*",
        mounts=_MOUNTS[mounts],
        ca="/run/secrets/ca" if secret else CA_FILE,
        pip_cache="" if mounts != "none" else " PIP_NO_CACHE_DIR=1",
        variant="gpu" if with_gpu else "cpu",
        gpu_environment=" NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility" if with_gpu else "",
    )
