"""Rollouts, one after the other, by the deployer, from images; and how far they are."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import partial

from headway.bus.errors import HeadwayError
from headway.control.records import Criteria, Margin, Past, Phase, RolloutRecord
from headway.control.store import Control
from headway.deployer.rollout import requests as ask
from headway.deployer.version import version_of
from tests.zones.load.client import Client
from tests.zones.place import CHAOS, Broken, Place

STEPS = (30, 100)
BAKE = 2.0
CRITERIA = Criteria(
    requests=20, margin=Margin(odds=100, points=0.5, latency=100, seconds=10), patience=20, thin="promote"
)
"""What fails is the network: whether a version is good enough is not the question."""
OVER_WITHIN = 200.0
"""Seconds that a rollout may take with all that happens to it."""


async def release(client: Client, place: Place, watched: Control, versions: Sequence[str]) -> None:
    """Roll out one version after the other; the last one is brought to its end.

    Args:
        client: who asks.
        place: where.
        watched: the records as `watch` has them: so what is waited for is in the history, too.
        versions: what is rolled out in turn.
    """
    control = Control(place.running.bus)
    for version in itertools.cycle(versions):
        if client.stop.is_set():
            return
        try:
            await control.refresh()
            record = version_of(place.store, CHAOS, version, pool=place.pool, grace=5)
            asked = await ask.deploy(control, record, steps=STEPS, bake=BAKE, window=0.0, criteria=CRITERIA)
        except HeadwayError as error:
            client.saw("deploy", {"version": version, "error": str(error)})
            await client.pause(1.0)
            continue
        client.saw("deploy", {"version": version, "number": asked.number})
        try:
            await place.until(partial(_over, watched, asked.number), f"rollout {asked.number} is over", OVER_WITHIN)
        except Broken:
            return  # its last phase is in the history


def _over(watched: Control, number: int) -> bool:
    record = watched.rollouts.get(CHAOS)
    return record is not None and record.number >= number and record.over


async def watch(client: Client, control: Control) -> None:
    """Write down how far each rollout is. Times in records are of the wall clock, those in a history are not."""
    known: dict[int, object] = {}
    offset = time.monotonic() - time.time()

    def saw(one: RolloutRecord | Past, phase: Phase, since: float) -> None:
        facts = {
            "number": one.number,
            "version": one.version,
            "before": one.before,
            "phase": phase,
            "began": one.began + offset,
            "since": since + offset,
        }
        if known.get(one.number) != facts:
            known[one.number] = facts
            client.saw("rollout", facts)

    while not client.stop.is_set():
        try:
            await control.refresh()
        except HeadwayError:
            await client.pause(0.5)
            continue
        if (now := control.rollouts.get(CHAOS)) is not None:
            # The next one may begin before we have seen the last one end.
            for past in now.past:
                saw(past, past.outcome, past.ended)
            saw(now, now.phase, now.since)
        await client.pause(0.1)
