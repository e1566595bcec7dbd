"""`python -m tests.unit.dynamod.drivers.kubernetes.golden`: write what `export` makes of the examples now."""

from __future__ import annotations

from tests.unit.dynamod.drivers.kubernetes.specs import GOLDEN, example
from tests.unit.dynamod.drivers.kubernetes.test_export import exported

for name in ("hello_world", "agg_router"):
    for form in ("yaml", "kustomize", "helm", "dgd", "dgd-v1alpha1"):
        files = exported(example(name), form).files
        (GOLDEN / f"{name}.{form}.txt").write_text("".join(f"# {path}\n{body}" for path, body in files.items()))
