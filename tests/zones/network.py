"""A network of zones on one machine: each zone is a network namespace, plugged into a switch that can lose packets.

What is cut loses packets without a word, as a broken switch or a firewall does: connections stay open, nothing comes.
The switch is in a namespace of its own, so no firewall of this machine (such as Docker's) has a say in it.
Only `ip` is needed, and the right to make namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.zones.unavailable import Unavailable

_NOBODY = "02:00:00:00:00:00"
"""A hardware address that no interface has: what is sent there is lost."""


def ip(*arguments: str) -> None:
    """Run `ip`.

    Raises:
        Unavailable: if it is not there or refuses.
    """
    program = shutil.which("ip", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    if program is None:
        raise Unavailable("there is no `ip` (package iproute2)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise Unavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Network:
    """Zones that all reach each other, and are reached from this process, until they are cut.

    Attributes:
        addresses: of each zone's only host.
    """

    def __init__(self, zones: Sequence[str]) -> None:
        self._name = f"hw{os.getpid()}"
        self._net = f"198.18.{os.getpid() % 250 + 1}"  # a range that is kept for tests (RFC 2544)
        self.addresses = {zone: f"{self._net}.{10 + number}" for number, zone in enumerate(zones)}

    @classmethod
    @contextmanager
    def made(cls, zones: Sequence[str]) -> Iterator[Network]:
        """A network, gone when the block ends.

        Raises:
            Unavailable: if networks cannot be made here.
        """
        network = cls(zones)
        with ExitStack() as stack:
            network._lay(stack)
            yield network

    def enter(self, zone: str, program: Path, script: Path) -> Path:
        """Write a script that runs a program in a zone; returns it."""
        script.write_text(f'#!/bin/sh\nexec nsenter --net="/run/netns/{self._space(zone)}" "{program}" "$@"\n')
        script.chmod(0o700)
        return script

    def isolate(self, zone: str) -> None:
        """Cut a zone off from everything."""
        ip("-n", self._space("switch"), "link", "set", "dev", f"to-{zone}", "nomaster")

    def deafen(self, zone: str, to: str) -> None:
        """Lose what one zone hears from another; what it says arrives."""
        ip(
            "-n",
            self._space(to),
            "neigh",
            "replace",
            self.addresses[zone],
            "lladdr",
            _NOBODY,
            "dev",
            "eth0",
            "nud",
            "permanent",
        )

    def split(self, zone: str, other: str) -> None:
        """Cut two zones off from each other; both reach all else."""
        self.deafen(zone, other)
        self.deafen(other, zone)

    def reaches(self, zone: str, other: str, port: int) -> bool:
        """Whether a connection from one zone to a listener in another can be made within a second."""
        program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)"
        done = subprocess.run(
            [
                "nsenter",
                f"--net=/run/netns/{self._space(zone)}",
                sys.executable,
                "-ISc",
                program,
                self.addresses[other],
                str(port),
            ],
            capture_output=True,
            timeout=20,
            check=False,
        )
        return done.returncode == 0

    def mend(self) -> None:
        """Undo all cuts."""
        for zone in self.addresses:
            ip("-n", self._space("switch"), "link", "set", "dev", f"to-{zone}", "master", "bridge0")
            ip("-n", self._space(zone), "neigh", "flush", "dev", "eth0", "nud", "permanent")

    def _space(self, name: str) -> str:
        return f"{self._name}-{name}"

    def _lay(self, stack: ExitStack) -> None:
        switch = self._space("switch")
        self._add(stack, "switch")
        ip("-n", switch, "link", "add", "dev", "bridge0", "type", "bridge")
        ip("-n", switch, "link", "set", "dev", "bridge0", "up")
        for zone, address in self.addresses.items():
            self._add(stack, zone)
            self._plug(zone, "peer", "name", "eth0", "netns", self._space(zone))
            self._address("eth0", address, "-n", self._space(zone))
        self._plug("here", "peer", "name", self._name)
        self._address(self._name, f"{self._net}.1")

    def _add(self, stack: ExitStack, name: str) -> None:
        space = self._space(name)
        ip("netns", "add", space)
        stack.callback(ip, "netns", "del", space)
        ip("-n", space, "link", "set", "dev", "lo", "up")

    def _plug(self, name: str, *peer: str) -> None:
        """A cable from the switch."""
        switch = self._space("switch")
        ip("link", "add", "dev", f"to-{name}", "netns", switch, "type", "veth", *peer)
        ip("-n", switch, "link", "set", "dev", f"to-{name}", "master", "bridge0", "up")

    @staticmethod
    def _address(device: str, address: str, *where: str) -> None:
        ip(*where, "addr", "add", f"{address}/24", "dev", device)
        ip(*where, "link", "set", "dev", device, "up")
