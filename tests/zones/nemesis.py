"""Does to the place what the plan says: one fault at a time, and the next when all is healthy again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.zones import disks
from tests.zones.history import NEMESIS, History
from tests.zones.place import CALLS, CHAOS, CLIENT_PORT, Place
from tests.zones.plan import PARTITIONS, Fault


class Nemesis:
    """Strikes and mends.

    Args:
        place: what it strikes.
        history: each fault is in it, from the strike until all is healthy again.
        chance: picks the worker that dies.
    """

    def __init__(self, place: Place, history: History, chance: random.Random) -> None:
        self._place, self._history, self._chance = place, history, chance

    async def follow(self, plan: Sequence[Fault]) -> None:
        """All faults of a plan."""
        for fault in plan:
            await asyncio.sleep(fault.gap)
            self._history.write(NEMESIS, "invoke", fault.kind, fault.facts())
            try:
                await self._look(fault, struck=False)
                await self._strike(fault)
                await self._look(fault, struck=True)
                await asyncio.sleep(fault.seconds)
            finally:
                await self._mend(fault)
            self._history.write(NEMESIS, "seen", "mended")
            await self._place.healthy()
            self._history.write(NEMESIS, "ok", fault.kind)

    async def _strike(self, fault: Fault) -> None:
        place, server = self._place, self._place.servers[fault.zone]
        match fault.kind:
            case "kill":
                await server.kill()
            case "pause":
                assert server.pid is not None
                os.kill(server.pid, signal.SIGSTOP)
            case "isolate" if place.network is not None:
                place.network.isolate(fault.zone)
            case "split" if place.network is not None:
                place.network.split(fault.zone, fault.other)
            case "deafen" if place.network is not None:
                place.network.deafen(fault.zone, fault.other)
            case "fill":
                disks.fill(place.stores[fault.zone])
            case "kill-worker":
                workers = [*place.running.workers(CALLS), *place.running.workers(CHAOS)]
                os.kill(self._chance.choice(workers).pid, signal.SIGKILL)
            case "kill-scaler" | "kill-deployer" | "kill-web":
                place.running.controllers[fault.kind.removeprefix("kill-")].kill()

    async def _look(self, fault: Fault, *, struck: bool) -> None:
        """Whether it took effect, and had none before. Clients need not feel it: they may use another zone only."""
        place, server = self._place, self._place.servers[fault.zone]
        if fault.kind in PARTITIONS and place.network is not None:
            reached = await asyncio.to_thread(place.network.reaches, fault.zone, fault.other, CLIENT_PORT)
            assert reached != struck, f"{fault.kind}: {fault.zone} reaches {fault.other}: {reached}"
        if fault.kind == "pause":
            pid = server.pid
            assert pid is not None
            what = f"the server of {fault.zone} stands still: {struck}"
            await place.until(lambda: _stands_still(pid) == struck, what)  # not at once: all its threads have to stop

    async def _mend(self, fault: Fault) -> None:
        place, server = self._place, self._place.servers[fault.zone]
        match fault.kind:
            case "kill":
                await server.start()
            case "pause":
                assert server.pid is not None
                os.kill(server.pid, signal.SIGCONT)
            case "isolate" | "split" | "deafen" if place.network is not None:
                place.network.mend()
            case "fill":
                # A server whose disk was full has given its store up, and takes it up again when it is started anew.
                disks.free(place.stores[fault.zone])
                await server.restart()


def _stands_still(pid: int) -> bool:
    """As proc(5) says it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
