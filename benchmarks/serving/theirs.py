"""The peer's side: `python -m dynamo.frontend` and its mocker, from an environment of its own, on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from benchmarks.peer import VERSION, peer_python
from benchmarks.serving.ours import Side, free_port
from dynamo.llm.tinymodel import make

NEEDED = ("packaging", "pyyaml", "msgspec", "uvloop", "pydantic")
"""What its frontend and mocker import on this path; the package itself is installed without dependencies."""


def peer_interpreter() -> str:
    python = peer_python(extra=NEEDED)
    found = subprocess.run([python, "-c", "import dynamo.frontend"], capture_output=True, check=False)
    if found.returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", f"ai-dynamo=={VERSION}"], check=True)
    return python


@asynccontextmanager
async def theirs(
    *, mode: str = "kv", workers: int = 2, blocks: int = 16384, speedup: float = 10_000
) -> AsyncIterator[Side]:
    """One frontend process and one mocker process with `workers` engines in it, ready."""
    peer_interpreter()
    with tempfile.TemporaryDirectory(prefix="peer-") as place:
        model, port = make(Path(place) / "tiny"), free_port()
        options = {"mode": mode, "workers": workers, "blocks": blocks, "speedup": speedup}
        async with peer_processes(model, port, **options) as measured:  # type: ignore[arg-type]
            await _serving(port, model.parent)
            yield Side(port, "tiny", [measured["frontend"]], list(measured.values()))


@asynccontextmanager
async def peer_processes(
    model: Path, port: int, *, mode: str = "kv", workers: int = 2, blocks: int = 16384, speedup: float = 10_000
) -> AsyncIterator[dict[str, psutil.Process]]:
    """The peer's processes, just started: `mocker` and `frontend`. Their logs go beside the model's directory."""
    python = peer_interpreter()
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=model.parent))
    environment = {
        **os.environ,
        "DYN_DISCOVERY_BACKEND": "file",
        "DYN_FILE_KV": str(directory / "kv"),
        "DYN_REQUEST_PLANE": "tcp",
        "DYN_EVENT_PLANE": "zmq",
        "DYN_TCP_RPC_HOST": "127.0.0.1",
        "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "DYN_LOG": "warn",
    }
    engine = ["--speedup-ratio", str(speedup), "--num-gpu-blocks-override", str(blocks), "--block-size", "16"]
    named = ["--model-path", str(model), "--model-name", "tiny", "--num-workers", str(workers)]
    listen = ["--http-host", "127.0.0.1", "--http-port", str(port)]
    commands = {
        "mocker": ["-m", "dynamo.mocker", *named, *engine],
        "frontend": ["-m", "dynamo.frontend", *listen, "--router-mode", mode, "--kv-cache-block-size", "16"],
    }
    processes = {}
    try:
        for name, command in commands.items():
            with (model.parent / f"{name}.log").open("wb") as log:
                processes[name] = await asyncio.create_subprocess_exec(
                    python, *command, env=environment, stdout=log, stderr=log
                )
        yield {name: psutil.Process(p.pid) for name, p in processes.items()}
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.terminate()
        for process in processes.values():
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        shutil.rmtree(directory, ignore_errors=True)


async def _serving(port: int, directory: Path) -> None:
    """Wait until the model is listed."""
    try:
        async with asyncio.timeout(120):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    if b'"tiny"' in answer:
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        logs = "\n".join(file.read_text()[-1500:] for file in directory.glob("*.log"))
        raise RuntimeError(f"the peer does not serve:\n{logs}") from None
