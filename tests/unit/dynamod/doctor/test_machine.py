"""Ports, limits, GPUs, Docker, etcd and NATS: real listeners, and readers that fail or hang."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynamod.core.gpu_health import DeviceReading
from dynamod.doctor.gpus import check_gpus
from dynamod.doctor.limits import check_open_files
from dynamod.doctor.ports import check_port, usual_port
from dynamod.doctor.services import check_docker, check_settings
from dynamod.drivers.nvml import NoGpus
from dynamod.schema import Verdict


@contextmanager
def listening(answer: bytes = b"") -> Iterator[int]:
    """A TCP server that answers each connection's first message with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, answer), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _serve(server: socket.socket, answer: bytes) -> None:
    while True:
        try:
            link, _ = server.accept()
        except OSError:
            return
        with link:
            if answer:
                link.recv(4096)
                link.sendall(answer)


def test_an_occupied_port_is_told_and_a_free_one_is_left_free() -> None:
    with listening() as port:
        found = check_port(port, host="127.0.0.1")
        assert (found.verdict, found.what.startswith("taken")) == (Verdict.WARN, True)
    assert check_port(port, host="127.0.0.1").verdict is Verdict.OK
    assert check_port(70_000).verdict is Verdict.FAIL


def test_the_usual_port() -> None:
    assert (usual_port({}), usual_port({"DYNAMO_PORT": "9000"})) == (8000, 9000)


@pytest.mark.parametrize(
    ("limits", "verdict", "remedy"),
    [
        ((65536, 65536), Verdict.OK, ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Verdict.OK, ""),
        ((1024, 65536), Verdict.OK, ""),
        ((1024, 4096), Verdict.WARN, "hard limit"),
        ((256, 256), Verdict.FAIL, "hard limit"),
    ],
)
def test_open_files(limits: tuple[int, int], verdict: Verdict, remedy: str) -> None:
    found = check_open_files(limits)
    assert found.verdict is verdict
    assert remedy in found.remedy


class Reader:
    simulated = False

    def __init__(self, read: Callable[[], list[DeviceReading]]) -> None:
        self.read = read


def device(fault: str = "") -> DeviceReading:
    return DeviceReading(uuid="GPU-1", index=0, name="Example", memory_total=1 << 30, fault=fault)


def test_gpus_as_they_may_be_found() -> None:
    assert check_gpus({"DYNAMOD_GPUS": "8xH100-80GB"}).what.startswith("simulated")
    assert check_gpus({}, reader=NoGpus(), loaded=False).verdict is Verdict.OK
    assert check_gpus({}, reader=NoGpus(), loaded=True).verdict is Verdict.WARN
    assert check_gpus({}, reader=Reader(lambda: [device()]), loaded=True).what == "0 Example"
    assert check_gpus({}, reader=Reader(lambda: [device("GPU is lost")]), loaded=True).verdict is Verdict.FAIL


def test_a_driver_that_fails_or_hangs_is_told() -> None:
    def fails() -> list[DeviceReading]:
        raise OSError("NVML: Driver/library version mismatch")

    assert "mismatch" in check_gpus({}, reader=Reader(fails), loaded=True).what
    released = threading.Event()

    def hangs() -> list[DeviceReading]:
        released.wait(60)
        return []

    found = check_gpus({}, reader=Reader(hangs), loaded=True, timeout=0.05)
    released.set()
    assert found.what == "the driver does not answer"


def test_a_docker_engine_answers_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"HTTP/1.0 200 OK\r\n\r\nOK") as port:
        assert check_docker({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).verdict is Verdict.OK
    assert check_docker({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).verdict is Verdict.FAIL
    assert check_docker({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}).verdict is Verdict.FAIL
    stopped = tmp_path / "stopped.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(stopped))
    monkeypatch.setattr("dynamod.doctor.services.DOCKER_SOCKET", f"unix://{stopped}")
    assert check_docker({}).verdict is Verdict.WARN, "nobody asked for an engine"
    assert check_docker({"DOCKER_HOST": f"unix://{stopped}"}).verdict is Verdict.FAIL
    with listening(b"HTTP/1.0 404 Not Found\r\n\r\n") as port:
        assert check_docker({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).verdict is Verdict.FAIL


def test_named_servers_must_be_reachable() -> None:
    with listening() as port:
        environ = {"DYN_DISCOVERY": f"etcd://127.0.0.1:{port}", "DYN_REQUEST_PLANE": "nats"}
        environ["NATS_SERVER"] = f"nats://user:hunter2@127.0.0.1:{port}"
        found = list(check_settings(environ))
        assert [(f.name, f.verdict) for f in found] == [(n, Verdict.OK) for n in ("settings", "etcd", "nats")]
        assert "hunter2" not in repr(found)
    assert [f.verdict for f in check_settings(environ)] == [Verdict.OK, Verdict.FAIL, Verdict.FAIL]


def test_a_variable_that_cannot_be_read_is_named() -> None:
    [found] = check_settings({"DYN_LEASE_TTL": "soon"})
    assert (found.verdict, "DYN_LEASE_TTL" in found.what) == (Verdict.FAIL, True)
