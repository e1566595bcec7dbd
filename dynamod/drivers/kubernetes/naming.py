"""Names and labels of a graph's objects.

A name is made of the project (unless it is the default one), the graph and the service, within what a Service and
the pods of a StatefulSet may be called (RFC 1035 labels; 52 characters leave room for what controllers append).
Where shortening or spelling would make two names one, a part of a digest keeps them apart.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

MAX_NAME = 52
MAX_LABEL = 63
FIELD_MANAGER = "dynamod"
"""Who owns the fields that we apply."""

PROJECT = "ai.dynamo.project"
GRAPH = "ai.dynamo.graph"
SERVICE = "ai.dynamo.service"
REVISION = "ai.dynamo.revision"
DIGEST = "ai.dynamo.digest"
CONFIG_DIGEST = "ai.dynamo.config-digest"

ETCD = "etcd"
NATS = "nats"
CONFIG = "config"
ENTRY = "entry"
SECRETS = "secrets"
_OURS = (ETCD, NATS, CONFIG, ENTRY, SECRETS)

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class Names:
    """The names of one graph's objects. `of` takes a service, `own` one of the objects that every graph has."""

    def __init__(self, project: str, graph: str, services: Sequence[str]) -> None:
        self.project = project
        self.graph = graph
        self.base = _fit(slug(graph if project == "default" else f"{project}-{graph}"), f"{project}/{graph}")
        wished = {service: slug(f"{self.base}-{service}", fallback="s") for service in services}
        taken = Counter(wished.values())
        taken.update(self.own(what) for what in _OURS)
        taken.update(f"{name}-peers" for name in wished.values())
        self._services = {
            service: _fit(name, f"{project}/{graph}/{service}", ambiguous=taken[name] > 1)
            for service, name in wished.items()
        }

    def of(self, service: str) -> str:
        return self._services[service]

    def peers_of(self, service: str) -> str:
        """The headless Service that gives the pods of a StatefulSet their DNS names."""
        return f"{self.of(service)}-peers"

    def own(self, what: str) -> str:
        return _fit(f"{self.base}-{what}", f"{self.project}/{self.graph}//{what}")

    def selector(self, service: str) -> dict[str, str]:
        """The labels that select a service's pods: they never change, a Deployment's selector cannot."""
        return {**self.graph_selector(), SERVICE: label_value(service)}

    def graph_selector(self) -> dict[str, str]:
        """The labels that every object of the graph carries."""
        return {GRAPH: label_value(self.graph), PROJECT: label_value(self.project)}

    def labels(self, service: str | None = None) -> dict[str, str]:
        labels = {
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
            "app.kubernetes.io/name": label_value(service or self.graph),
            "app.kubernetes.io/part-of": label_value(self.graph),
            "app.kubernetes.io/instance": self.base,
        }
        return labels | (self.graph_selector() if service is None else self.selector(service))


def slug(text: str, *, fallback: str = "graph") -> str:
    """Lower case letters, digits and single dashes, beginning with a letter."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text)
    plain = re.sub(r"[^a-z0-9]+", "-", spaced.lower()).strip("-")
    if not plain:
        return fallback
    return plain if plain[0].isalpha() else f"{fallback[0]}-{plain}"


def label_value(text: str) -> str:
    """The text where it may stand as a label's value, else what is left of it and a part of its digest."""
    if _LABEL_VALUE.fullmatch(text):
        return text
    kept = re.sub(r"[^-A-Za-z0-9_.]+", "-", text)[: MAX_LABEL - 9].strip("-_.")
    return f"{kept}-{_digest(text)}" if kept else _digest(text)


def split_labels(labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Those that may be labels, and those that can be annotations at best."""
    fitting = {k: v for k, v in labels.items() if _LABEL_KEY.fullmatch(k) and _LABEL_VALUE.fullmatch(v)}
    return fitting, {k: v for k, v in labels.items() if k not in fitting}


def is_key(text: str) -> bool:
    """May it be the key of a label or an annotation?"""
    return _LABEL_KEY.fullmatch(text) is not None


def _fit(name: str, identity: str, *, ambiguous: bool = False) -> str:
    if len(name) <= MAX_NAME and not ambiguous:
        return name
    return f"{name[: MAX_NAME - 9].rstrip('-')}-{_digest(identity)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
