"""A run: the installation, the load, the releases; then what is left is done, and the checker and the slopes decide."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from headway import config
from headway.installation import Installation
from tests.soak import crowd, measure
from tests.soak.growth import Growth, Sample, growth, table
from tests.soak.releases import Releases
from tests.zones.checker import check
from tests.zones.finding import Finding
from tests.zones.history import History, line, load, merged, operations
from tests.zones.load import desk, everybody, things
from tests.zones.load.client import Client
from tests.zones.place import CALLS, CHAOS, WORKERS, Place

EVERY = 2.0
"""Seconds between two samples."""
EMPTY_WITHIN = 120.0
LONG = 900.0
"""Seconds of a run that has to tell slopes."""
LEAST = 100
"""Of each kind of work; with less of it a run shows nothing."""
KINDS = ("call", "submit", "emit", "put", "route")


class Site(Place):
    """One server that the installation runs itself."""

    def __init__(self, store: Path) -> None:
        super().__init__(None, {}, store)

    @property
    def urls(self) -> str:
        """Of the server."""
        return self.running.broker.url

    @property
    def ws_urls(self) -> str:
        """For pages."""
        return self.running.broker.ws_url


@dataclass(frozen=True, slots=True)
class Result:
    """What a run showed.

    Attributes:
        findings: promises that were not kept.
        growth: of what grows with the releases; nothing if there were too few of them.
        releases: and what came of them.
        done: how much of each kind of work.
        seconds: how long it was to be.
    """

    findings: list[Finding]
    growth: list[Growth]
    releases: Releases
    done: Counter[str]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """What makes the run a failure, one line each."""
        found = [str(one) for one in self.findings[:20]]
        found += [f"{one.name} grows by {one.slope:.2f} a release" for one in self.growth if not one.flat]
        found += [f"a release failed: {why}" for why in self.releases.failed]
        found += [f"a bad version ended as {outcome}" for outcome in self.releases.bad if outcome != "rolled-back"]
        found += [f"a good version ended as {outcome}" for outcome in self.releases.good if outcome not in GOOD]
        found += [f"only {self.done[kind]} of {kind} were done" for kind in KINDS if self.done[kind] < LEAST]
        if self.seconds >= LONG and not self.growth:
            found.append(f"in {self.seconds:g} s only {self.releases.count} releases were over: no slope can be told")
        if not self.releases.bad:
            found.append("no bad version was released")
        return found

    def __str__(self) -> str:
        grown = table(self.growth) if self.growth else f"after {self.releases.count} releases no slope can be told"
        outcomes = Counter([*self.releases.good, *self.releases.bad])
        return f"{grown}\nreleases: {dict(outcomes)}; done: {dict(self.done)}"


GOOD = {"done", "standby"}


async def run(seconds: float, seed: int, work: Path, kept: Path) -> Result:
    """Run it.

    Args:
        seconds: how long; a little longer, since the last release is brought to its end.
        seed: what the load draws from.
        work: an empty directory for all that is not kept.
        kept: gets the history, the samples and what all processes say.
    """
    history, effects = History(kept / "history.jsonl"), kept / "effects.jsonl"
    effects.touch()
    log, place, releases = measure.Log(kept / "processes.log"), Site(work), Releases(effects)
    samples: list[Sample] = []
    try:
        async with Installation.start(_config(work, effects), say=log.say, grace=5) as place.running:
            began = time.monotonic()
            measuring = asyncio.ensure_future(_measure(place, log, began, releases, samples))
            try:
                work_ = (crowd.burst, _emitting)
                async with everybody.at_work(place, history, random.Random(seed).getrandbits(32), releases.run, work_):
                    await asyncio.sleep(seconds)
                await place.until(place.empty, "no job is left", EMPTY_WITHIN)
                await place.until(lambda: _heard(history, effects), "all events are handled", EMPTY_WITHIN)
                await _look(place, history)
            finally:
                measuring.cancel()
                await asyncio.wait([measuring])
    finally:
        history.close()
        log.close()
        whole = merged(history.entries, load(effects))
        (kept / "history.jsonl").write_bytes(b"".join(map(line, whole)))
        (kept / "samples.csv").write_text(measure.as_lines(samples))
    done = Counter(one.op for one in operations(whole, *KINDS) if one.ok)
    return Result(check(whole), growth(samples), releases, done, seconds)


async def _emitting(history: History, stop: asyncio.Event, tenant: everybody.Tenant) -> None:
    await crowd.emit(Client(history, "emit", stop), tenant)


async def _measure(place: Place, log: measure.Log, began: float, releases: Releases, samples: list[Sample]) -> None:
    while True:
        samples.append(await measure.sample(place, log, began, releases.count))
        await asyncio.sleep(EVERY)


def _heard(history: History, effects: Path) -> bool:
    acked = {one.asked["key"] for one in operations(history.entries, "emit") if one.ok}
    return acked <= {entry.value["key"] for entry in load(effects) if entry.op == "heard"}


async def _look(place: Place, history: History) -> None:
    """Write down how everything is in the end."""
    bus, end = place.running.bus, Client(history, "end", asyncio.Event())
    end.saw("objects", await things.state(bus.tenant(everybody.TENANT)))
    await desk.look(end, bus.tenant(everybody.DESK))


def _config(work: Path, effects: Path) -> config.Config:
    return config.Config(
        services={
            CALLS: config.ServiceConfig(app="headway.services.calls:calls", workers=WORKERS),
            CHAOS: config.ServiceConfig(
                app="tests.soak.service:chaos", workers=WORKERS, config={"effects": str(effects)}
            ),
        },
        server=config.ServerConfig(port=0, websocket_port=0, store=str(work)),
        web=config.WebConfig(port=0, dev_issuer=True, session=86_400),
    )
