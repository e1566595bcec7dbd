"""A build configured anew: its own configuration, with a file and overrides on top."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from dynamo.sdk.spec import GraphSpec, SpecError, decode
from dynamod.builds.layout import Prepared
from dynamod.core.errors import Invalid
from dynamod.schema.graphs import BuildSettings

INSPECT_TIMEOUT_S = 300.0
_OVERRIDE = re.compile(r"--[A-Za-z_]\w*\.[^=\s]+=.*", re.DOTALL)


def merged(spec: GraphSpec, text: str | None) -> str:
    """A configuration file (JSON, which is YAML): what the graph was built with, and `text` on top, key by key.

    Raises:
        Invalid: the text is no YAML mapping.
    """
    if text is None:
        return msgspec.json.encode(spec.config).decode()
    try:
        above = yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"no YAML: {' '.join(str(error).split())}", field="settings.config") from None
    if not isinstance(above, dict):
        raise Invalid("expected a mapping of services", field="settings.config")
    try:
        return msgspec.json.encode(_merge(spec.config, above)).decode()
    except (TypeError, RecursionError) as error:
        raise Invalid(str(error), field="settings.config") from None


def configured(prepared: Prepared, settings: BuildSettings) -> GraphSpec:
    """The build's spec, derived anew by the SDK in the build's own environment.

    Raises:
        Invalid: a setting is wrong; the message is the SDK's own line.
    """
    spec = prepared.archive.spec
    for override in settings.overrides:
        if not _OVERRIDE.fullmatch(override):
            raise Invalid(
                f"{override!r} is no override", field="settings.overrides", remedy="write --Service.key=value"
            )
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "config.yaml"
        file.write_text(merged(spec, settings.config), encoding="utf-8")
        command = [str(prepared.interpreter), "-m", "dynamo.sdk.inspect", spec.target, f"--name={spec.name}"]
        command += [f"--working-dir={prepared.sources}", f"--file={file}"]
        if settings.port is not None:
            command.append(f"--port={settings.port}")
        if settings.host is not None:
            command.append(f"--host={settings.host}")
        printed = _run([*command, *settings.overrides], prepared.sources)
    try:
        return decode(printed)
    except SpecError as error:
        raise Invalid(str(error), field="settings") from None


def _run(command: list[str], directory: Path) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSPECT_TIMEOUT_S, check=False, cwd=directory)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Invalid(f"the build cannot be configured: {error}", field="settings") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise Invalid(lines[-1].removeprefix("error: "), field="settings")
    return done.stdout


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        known = result.get(key)
        result[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result
