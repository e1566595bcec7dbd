from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamo.sdk.spec import ProbeSpec
from dynamod.drivers.base import Launch
from dynamod.drivers.logfile import log_dir
from dynamod.drivers.logwriter import LogWriter
from dynamod.drivers.probing import Subject, Verdict, look, probe_for
from dynamod.drivers.process import ProcessDriver
from dynamod.schema import locations


def subject(tmp_path: Path, *, port: int | None = None, address: str | None = None, started: float = 0.0) -> Subject:
    launch = Launch("a", 1, [], {"PATH": "/usr/bin:/bin", "WORD": "hello"}, str(tmp_path))
    driver = ProcessDriver(locations(tmp_path), lambda _id, _ended: None)
    return Subject(
        started_at=started,
        log_dir=log_dir(str(tmp_path)),
        address=lambda: address,
        port=port,
        host=lambda: driver.host_of("a"),
        execute=lambda argv: driver.execute(launch, argv),
    )


async def probed(spec: ProbeSpec, of: Subject) -> Verdict:
    return await look(probe_for(spec, of), spec.timeout)


@pytest.fixture
async def http() -> AsyncIterator[int]:
    """A server that answers /ok with 200 and anything else with 503."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        status = b"200 OK" if line.split()[1] == b"/ok" else b"503 Service Unavailable"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_http(http: int, tmp_path: Path) -> None:
    here = subject(tmp_path, address=f"http://127.0.0.1:{http}")
    assert (await probed(ProbeSpec(kind="http", target="/ok"), here)).healthy
    bad = await probed(ProbeSpec(kind="http", target="/other"), here)
    assert bad == Verdict(False, f"GET http://127.0.0.1:{http}/other: 503 Service Unavailable")
    by_port = subject(tmp_path, port=http)
    assert (await probed(ProbeSpec(kind="http", target="ok"), by_port)).healthy
    assert (await probed(ProbeSpec(kind="http", target=f"http://127.0.0.1:{http}/ok"), subject(tmp_path))).healthy
    unknown = await probed(ProbeSpec(kind="http", target="/ok"), subject(tmp_path))
    assert unknown == Verdict(False, "its HTTP address is not known yet")


async def test_tcp(http: int, tmp_path: Path) -> None:
    assert (await probed(ProbeSpec(kind="tcp", target=str(http)), subject(tmp_path))).healthy
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = await probed(ProbeSpec(kind="tcp", target=f"127.0.0.1:{closed.getsockname()[1]}"), subject(tmp_path))
    assert not refused.healthy


async def test_exec(tmp_path: Path) -> None:
    good = await probed(ProbeSpec(kind="exec", target="sh -c 'echo $WORD; pwd'"), subject(tmp_path))
    assert good == Verdict(True, f"exit code 0: {tmp_path}")
    bad = await probed(ProbeSpec(kind="exec", target="sh -c 'echo no; exit 3'"), subject(tmp_path))
    assert bad == Verdict(False, "exit code 3: no")
    slow = await probed(ProbeSpec(kind="exec", target="sleep 60", timeout=0.2), subject(tmp_path))
    assert slow == Verdict(False, "no answer within 0.2 s")
    missing = await probed(ProbeSpec(kind="exec", target="no-such-program"), subject(tmp_path))
    assert not missing.healthy


async def test_log_sees_this_run_only_and_across_segments(tmp_path: Path) -> None:
    writer = LogWriter(log_dir(str(tmp_path)), segment_bytes=64)
    writer.write(b"ready already\n")
    started = time.time()
    probe = probe_for(ProbeSpec(kind="log", target="ready .* now"), subject(tmp_path, started=started))
    assert not (await look(probe, 5)).healthy
    writer.write(b"loading\n" * 20)
    writer.write(b"ready with all")
    assert not (await look(probe, 5)).healthy
    writer.write(b" of it now\n")
    assert await look(probe, 5) == Verdict(True, "its log says: ready with all of it now")
    writer.close()
    again = probe_for(ProbeSpec(kind="log", target="already"), subject(tmp_path, started=started))
    assert not (await look(again, 5)).healthy
