"""`env`: versions, the machine and what `dynamod doctor` finds on it, for bug reports.

No secrets: of the environment only what is known to hold none.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import msgspec

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import print_json
from dynamo_tui.client import calls
from dynamo_tui.client.contexts import choose
from dynamo_tui.client.errors import ClientError
from dynamo_tui.client.sync import Client
from dynamod.schema.doctor import Finding, Verdict

_DOCTOR_TIMEOUT_S = 60.0
_PACKAGES = (
    "dynamod", "msgspec", "pydantic", "uvloop", "fastapi", "uvicorn", "SQLAlchemy", "httpx", "click", "rich",
    "textual", "numpy", "xxhash", "tokenizers", "vllm", "torch", "aiohttp", "nats-py", "docker", "lightkube",
    "nvidia-ml-py",
)  # fmt: skip
_PLAIN_VARIABLES = (
    "DYN_LOCAL_STATE_DIR", "DYN_LOG", "DYN_DISCOVERY", "DYN_REQUEST_PLANE", "DYN_DEPLOYMENT_ENV",
    "DYN_DISABLE_AUTO_GPU_ALLOCATION", "DYNAMO_HOST", "DYNAMO_PORT", "DYNAMO_IMAGE", "DYNAMOD_CONTEXT",
    "DYNAMOD_CONFIG", "DYNAMOD_GPUS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
)  # fmt: skip


@click.command("env")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--context", "context_name", metavar="NAME", help="The daemon to ask.")
def command(as_json: bool, context_name: str | None) -> None:
    """Print versions, the machine and what is wrong with it, for bug reports. It holds no secrets."""
    facts = {
        "machine": _machine(),
        "packages": _versions(),
        "environment": {name: os.environ[name] for name in _PLAIN_VARIABLES if name in os.environ},
        "daemon": _daemon(context_name),
    }
    findings = _findings()
    if as_json:
        print_json({**facts, "findings": findings})
        return
    for section, values in facts.items():
        click.echo(f"{section}:")
        for name, value in values.items():
            click.echo(f"  {name}: {value}")
    click.echo("findings:")
    for finding in findings:
        if finding.verdict is not Verdict.OK:
            click.echo(f"  {finding.verdict.value}: {finding.name}: {finding.what}: {finding.remedy}")
    click.echo(f"  ok: {', '.join(f.name for f in findings if f.verdict is Verdict.OK)}")


def _findings() -> list[Finding]:
    """What the doctor says, in a process of its own: it loads what the command line never needs."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dynamod", "doctor", "--json"],
            capture_output=True,
            timeout=_DOCTOR_TIMEOUT_S,
            check=False,
        )
        return msgspec.json.decode(done.stdout, type=list[Finding])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        what = f"`dynamod doctor` did not answer: {error}"
        return [Finding(name="doctor", verdict=Verdict.FAIL, what=what, remedy="run it by hand")]


def _machine() -> dict[str, Any]:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_version()} ({sys.executable})",
        "cpus": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "memory": quantities.memory(pages * page),
        "libc": " ".join(platform.libc_ver()),
        "nvidia driver": _nvidia_driver(),
    }


def _nvidia_driver() -> str:
    try:
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return "none"
    return first.partition(":")[2].strip() or first


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _daemon(context_name: str | None) -> dict[str, Any]:
    try:
        choice = choose(os.environ, context_name)
        with Client(choice.context) as client:
            info = client.send(calls.info())
    except ClientError as error:
        return {"state": f"{error}"}
    return {
        "context": choice.context.name,
        "address": choice.context.address,
        "version": f"{info.version} (API {info.api_version})",
        "pid": info.pid,
        "state_dir": info.state_dir,
        "gpus_simulated": info.gpus_simulated,
    }
