"""The Dockerfile of a build: multi-stage, non-root, from a base image that whoever builds it may choose."""

from __future__ import annotations

from dynamo.sdk.spec import GraphSpec

_TEMPLATE = """\
# Made by `dynamoctl build`. The build context is the unpacked archive.
ARG BASE_IMAGE=python:{python}-slim
FROM ${{BASE_IMAGE}} AS packages
WORKDIR /build
COPY requirements.lock ./
COPY wheels ./wheels
# A cache mount keeps downloads between builds; the secret is a CA bundle for networks that need one of their own.
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=ca \\
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \\
    python -m venv /opt/graph && \\
    /opt/graph/bin/python -m pip install --quiet --require-hashes -r requirements.lock && \\
    /opt/graph/bin/python -m pip install --quiet --no-deps wheels/*.whl && \\
    /opt/graph/bin/python -m pip uninstall --quiet --yes pip && \\
    find /opt/graph -name __pycache__ -prune -exec rm -r {{}} +

ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
LABEL org.opencontainers.image.title="{name}" ai.dynamo.graph="{name}" ai.dynamo.target="{target}"
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin graph || adduser -D -u 10001 graph
COPY --from=packages /opt/graph /opt/graph
COPY src /srv/graph
WORKDIR /srv/graph
ENV PATH=/opt/graph/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001
ENTRYPOINT ["python", "-m", "dynamo.sdk.replica", "{target}"]
"""


def dockerfile(spec: GraphSpec) -> str:
    """The text for one graph. One image serves all of its services: which one is the replica's argument."""
    python = spec.python_version or "3.11"
    return _TEMPLATE.format(python=".".join(python.split(".")[:2]), name=spec.name, target=spec.target)
