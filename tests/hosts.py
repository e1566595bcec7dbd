"""Several hosts on one machine: network namespaces with their own addresses and private directories.

The test process is a host too, at `.1` of the subnet. The switch that joins them has a namespace of its own:
a container engine on this machine may drop what crosses a bridge beside its own. Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess

PRIVATE = "/mnt"
"""Each host sees an empty directory of its own here, so that Unix sockets made in it stay on that host."""


def why_not() -> str:
    """Why hosts cannot be made here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "unshare", "mount") if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


class Host:
    """`port` is where its cable is plugged into the switch."""

    def __init__(self, name: str, switch: str, port: str, address: str) -> None:
        self.name = name
        self.switch = switch
        self.port = port
        self.address = address

    def command(self, *argv: str) -> list[str]:
        """`argv`, run on this host."""
        inside = 'mount -t tmpfs none "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--mount", "sh", "-c", inside, PRIVATE, *argv]

    def cut_off(self) -> None:
        """Pull its cable: packets vanish, and nobody is told."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def reconnect(self) -> None:
        _ip("-n", self.switch, "link", "set", self.port, "up")


class Network:
    """`count` hosts on one switch, which also joins this process's host at `.1`."""

    def __init__(self, count: int) -> None:
        tag = os.getpid() % 60_000
        self.subnet = f"10.{200 + tag % 50}.{tag // 250 % 250}"
        self.address = f"{self.subnet}.1"
        self.switch = f"dyn{tag}-sw"
        self.link = f"dyv{tag}"
        self.hosts = [Host(f"dyn{tag}-{n}", self.switch, f"port{n}", f"{self.subnet}.{n + 2}") for n in range(count)]

    def up(self) -> None:
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.switch, "link", "set", "br0", "up")
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "uplink", "netns", self.switch)
        _ip("addr", "add", f"{self.address}/24", "dev", self.link)
        _ip("link", "set", self.link, "up")
        self._plug_in("uplink")
        for host in self.hosts:
            _ip("netns", "add", host.name)
            _ip("-n", self.switch, "link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            self._plug_in(host.port)
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")

    def _plug_in(self, port: str) -> None:
        _ip("-n", self.switch, "link", "set", port, "master", "br0")
        _ip("-n", self.switch, "link", "set", port, "up")

    def down(self) -> None:
        for namespace in [*(host.name for host in self.hosts), self.switch]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)


def make(count: int) -> Network:
    network = Network(count)
    try:
        network.up()
    except subprocess.CalledProcessError as error:
        network.down()
        raise RuntimeError(f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}") from None
    return network
