"""One release after the other, as fast as the deployer decides. Every third one is bad and has to be taken back."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headway.bus.errors import HeadwayError
from headway.control.records import CallCheck, Criteria, Margin, RolloutRecord
from headway.control.store import Control
from headway.deployer.rollout import requests
from headway.deployer.version import version_of
from headway.images.build import build
from tests.zones.load.client import Client
from tests.zones.place import CHAOS, Broken, Place

STEPS, BAKE = (50, 100), 1.0
CRITERIA = Criteria(requests=20, errors=0.2, latency=20.0, margin=Margin(odds=100, points=0.5, latency=100, seconds=10))
"""Wide: on a busy machine equal versions differ by much. What is bad fails its check."""
CHECK = CallCheck(tenant="acme", operation="echo", request=0, expect={"good": True}, timeout=10.0)
OVER_WITHIN = 240.0


@dataclass
class Releases:
    """What came of them.

    Attributes:
        good, bad: by outcome ("done", "rolled-back", ...), of versions that are as they should be and of bad ones.
        failed: releases that could not begin or did not end, and why.
    """

    effects: Path
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many are over."""
        return len(self.good) + len(self.bad)

    async def run(self, client: Client, place: Place, watched: Control) -> None:
        """Release until told to stop; the last one is brought to its end."""
        control = Control(place.running.bus)
        for number in itertools.count(2):
            if client.stop.is_set():
                return
            bad = number % 3 == 0
            await self._one(client, place, control, watched, f"v{number}", bad=bad)

    async def _one(
        self, client: Client, place: Place, control: Control, watched: Control, version: str, *, bad: bool
    ) -> None:
        config = {"effects": str(self.effects), "bad": bad}
        await asyncio.to_thread(
            build, Path(__file__).with_name("service.py"), version=version, data_dir=place.store, config=config,
            app="tests.soak.service:chaos",
        )  # fmt: skip
        try:
            await control.refresh()
            record = version_of(place.store, CHAOS, version, pool=place.pool, grace=5)
            asked = await requests.deploy(
                control, record, steps=STEPS, bake=BAKE, window=0.0, criteria=CRITERIA, checks=(CHECK,)
            )
        except HeadwayError as error:
            self.failed.append(f"{version} did not begin: {error}")
            client.saw("deploy", {"version": version, "error": str(error)})
            await client.pause(1.0)
            return
        client.saw("deploy", {"version": version, "number": asked.number})
        try:
            await place.until(partial(_over, watched, asked.number), f"rollout {asked.number} is over", OVER_WITHIN)
        except Broken as why:
            self.failed.append(f"{version}: {why}")
            return
        rollout = watched.rollouts[CHAOS]
        (self.bad if bad else self.good).append(_outcome(rollout, asked.number))


def _outcome(record: RolloutRecord, number: int) -> str:
    if record.number == number:
        return record.phase
    return next((past.outcome for past in record.past if past.number == number), "unknown")


def _over(watched: Control, number: int) -> bool:
    record = watched.rollouts.get(CHAOS)
    return record is not None and record.number >= number and record.over
