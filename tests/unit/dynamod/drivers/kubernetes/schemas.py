"""The schemas of Kubernetes' releases, as `kubernetes-validate` carries them, read once."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from packaging.version import Version
from referencing import Registry, Resource

RELEASES = [release for release in all_versions() if Version(release) >= Version("1.25")]
assert RELEASES[0].startswith("1.25"), f"kubernetes-validate {kubernetes_validate.version} begins at {RELEASES[0]}"


def assert_valid(objects: Iterable[Any], release: str) -> None:
    """Every object fits its schema in that release; fields that it does not know are errors."""
    for one in objects:
        group = re.sub(r"^([^./]*)(?:[.][^/]*)?/", r"\1-", one["apiVersion"])
        kind = f"{one['kind'].lower()}-{group}"
        errors = [
            f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in _validator(kind, release).iter_errors(one)
        ]
        assert not errors, f"{one['kind']} {one['metadata']['name']}, Kubernetes {release}: {errors[0]}"


@functools.cache
def _validator(kind: str, release: str) -> Draft202012Validator:
    schema = schema_contents(f"kubernetes-json-schema/v{release}-local-strict/{kind}.json", release)
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(release))


@functools.cache
def _definitions(release: str) -> Registry[Any]:
    found = schema_contents(f"kubernetes-json-schema/v{release}-local-strict/_definitions.json", release)
    return Resource.from_contents(found) @ Registry()
