"""A run: the place, the load, the faults; then all is mended, what is left is done, and everything is looked at."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headway.images.build import build
from tests.zones import place as places
from tests.zones.history import Entry, History, line, load, merged
from tests.zones.load import desk, everybody, things
from tests.zones.load.client import Client
from tests.zones.nemesis import Nemesis
from tests.zones.network import Network
from tests.zones.place import Place
from tests.zones.plan import PARTITIONS, Fault, Kind

HISTORY, EFFECTS = "history.jsonl", "effects.jsonl"


@dataclass(frozen=True, slots=True)
class Ground:
    """What this machine allows.

    Attributes:
        network: zones in a network of their own; None has none.
        stores: where each zone stores.
        disks: whether these are disks of their own.
    """

    network: Network | None
    stores: dict[str, Path]
    disks: bool

    def allows(self, kind: Kind) -> bool:
        """Whether a kind of fault can be done here."""
        return (kind not in PARTITIONS or self.network is not None) and (kind != "fill" or self.disks)


async def run(plan: Sequence[Fault], seed: int, ground: Ground, work: Path, kept: Path) -> list[Entry]:
    """Run it.

    Args:
        plan: the faults.
        seed: what the load draws from.
        ground: what the machine allows.
        work: an empty directory for all that is not kept.
        kept: where history and logs are written.

    Returns:
        the history.
    """
    history = History(kept / HISTORY)
    effects = kept / EFFECTS
    effects.touch()
    try:
        with (kept / "processes.log").open("w", buffering=1) as log:
            async with places.made(work, ground.network, ground.stores, effects, log) as place:
                await _build(work, effects)
                await place.healthy()
                async with everybody.at_work(place, history, seed):
                    await Nemesis(place, history, random.Random(seed)).follow(plan)
                await place.healthy()
                await place.until(place.empty, "no job is left", 120.0)
                await _look(place, history)
    finally:
        history.close()
        whole = merged(history.entries, load(effects))
        _keep(whole, ground, kept)
    return whole


async def _look(place: Place, history: History) -> None:
    """How everything is in the end."""
    bus, end = place.running.bus, Client(history, "end", asyncio.Event())
    end.saw("objects", await things.state(bus.tenant(everybody.TENANT)))
    await desk.look(end, bus.tenant(everybody.DESK))


async def _build(work: Path, effects: Path) -> None:
    """The images of the versions that are rolled out."""
    service = Path(__file__).with_name("service.py")
    for version in everybody.VERSIONS:
        await asyncio.to_thread(
            build,
            service,
            version=version,
            data_dir=work,
            config={"effects": str(effects)},
            app="tests.zones.service:chaos",
        )


def _keep(whole: Sequence[Entry], ground: Ground, kept: Path) -> None:
    """One history instead of two files, and the logs of the servers."""
    (kept / HISTORY).write_bytes(b"".join(map(line, whole)))
    (kept / EFFECTS).unlink()
    for zone, store in ground.stores.items():
        if (log := store / "nats.log").exists():
            shutil.copy(log, kept / f"server-{zone}.log")
