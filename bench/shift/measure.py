"""The shift bench: changes weights, releases versions, rolls back and replaces fleets, all under load.

It runs as an installation does: `headway up`'s server, scaler and deployer, and versions from images.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench import goals
from bench.numbers import quantile
from bench.process import Child, child
from bench.report import Report
from bench.shift import service as served
from bench.shift.load import SERVICE
from headway.broker.broker import Broker
from headway.bus.nats.streams import jobs_stream
from headway.config import Config, ServerConfig, ServiceConfig
from headway.control.records import Criteria, Margin, RolloutRecord, Scale, ServiceRecord
from headway.control.store import Control, rollout_key, service_key
from headway.deployer.analysis import binomial
from headway.deployer.rollout import requests as ask
from headway.deployer.version import version_of
from headway.images.build import build
from headway.installation import Installation

WORKERS: Final = 2
CERTAIN: Final = 1e-4
"""A share is out of bounds when its probability is lower than this."""
_CRITERIA: Final = Criteria(
    requests=20, margin=Margin(odds=100, points=0.5, latency=100, seconds=10), patience=1, thin="promote"
)
"""A margin that everything passes: the bench measures what a shift costs, not how long a proof takes."""
_PATIENCE: Final = 180.0
_POLL: Final = 0.02
_LISTEN: Final = 0.25
"""Seconds of calls from which a share is computed."""


async def measure(shifts: int, cycles: int, fleet: int) -> Report:
    """Run the bench.

    Args:
        shifts: changes of weights.
        cycles: releases that are rolled back.
        fleet: workers of the version that is replaced in one go.
    """
    with tempfile.TemporaryDirectory(prefix="headway-bench-") as directory:
        log = Path(directory, "log")
        async with _installation(Path(directory), log) as site:
            found = await _under_load(site, shifts, cycles, fleet, log)
    values = {
        goals.FAILED_CALLS: float(found["failed"]),
        goals.LOST_JOBS: float(found["lost"]),
        goals.TWICE_JOBS: float(found["twice"]),
        goals.SHIFT: quantile(found["shifts"], 0.99) * 1e3,
        goals.ROLLBACK: quantile(found["rollbacks"], 0.99) * 1e3,
        goals.REPLACE: found["replaced"],
        goals.OUTSIDE: float(found["outside"]),
    }
    return Report(
        bench="shift",
        title=f"{shifts} shifts, {cycles} releases and rollbacks, a fleet of {fleet} replaced, under calls and jobs",
        unit="as named",
        values=values,
        rounds={goals.SHIFT: found["shifts"], goals.ROLLBACK: found["rollbacks"]},
        ratios={},
        verdicts=goals.judge(goals.RELEASES, values),
        details={name: found[name] for name in ("calls", "jobs", "errors", "confirmed_ms_p99", "cycle_s")},
        headline=values,
    )


class Site:
    """A running installation with its load."""

    def __init__(self, running: Installation, load: Child, directory: Path) -> None:
        self.running = running
        self.control = Control(running.bus)
        self.load = load
        self._directory = directory

    async def deploy(self, version: str, **options: Any) -> None:
        """Start to release a version."""
        await self.control.refresh()
        pool = next(one.pool for (of, _), one in self.control.versions.items() if of == SERVICE)
        made = version_of(self._directory, SERVICE, version, pool=pool, grace=10)
        await ask.deploy(self.control, made, **options)

    async def phase(self, *phases: str) -> RolloutRecord:
        """Wait until the rollout reaches a phase.

        Raises:
            RuntimeError: if it ends in another phase, or does not get there in time.
        """
        until = time.monotonic() + _PATIENCE
        while True:
            kept = await self.control.get(rollout_key(SERVICE), RolloutRecord)
            assert kept is not None
            if kept.value.phase in phases:
                return kept.value
            if kept.value.over or time.monotonic() > until:
                record = kept.value
                raise RuntimeError(f"the rollout is {record.phase}, not {phases}: {record.abort or record.note}")
            await asyncio.sleep(_POLL)

    async def hear(self, order: Any) -> Any:
        """Send an order to the load and return its answer."""
        return await self.load.ask(order, _PATIENCE)


async def _under_load(site: Site, shifts: int, cycles: int, fleet: int, log: Path) -> dict[str, Any]:
    # Everything runs from images: v1 of the working tree is replaced first, which also warms everything up.
    await site.deploy("v2", steps=(100,), bake=0.0, window=3600.0, criteria=_CRITERIA)
    await site.phase("standby")
    stale, confirmed, outside = await _shifts(site, shifts)
    rollbacks, cycle_s = await _cycles(site, cycles)
    replaced = await _fleet(site, fleet)
    ended = await site.hear({"stop": True})
    done = await _done(site, log, ended["submitted"])
    return {
        "failed": ended["failed"],
        "errors": ended["errors"],
        "lost": ended["submitted"] - len(done),
        "twice": sum(count > 1 for count in done.values()),
        "shifts": stale,
        "confirmed_ms_p99": quantile(confirmed, 0.99) * 1e3,
        "outside": outside,
        "rollbacks": rollbacks,
        "cycle_s": cycle_s,
        "replaced": replaced,
        "calls": ended["calls"],
        "jobs": ended["submitted"],
    }


async def _shifts(site: Site, count: int) -> tuple[list[float], list[float], int]:
    """Change weights; return how long calls went the old way, how long servers took, and shares out of bounds."""
    broker, chosen = site.running.broker, random.Random(4)
    stale: list[float] = []
    confirmed: list[float] = []
    outside = 0
    versions = ["v1", "v2"]
    for _ in range(count):
        weight = chosen.randint(5, 95)
        await _push(broker, {"v1": 100 - weight, "v2": weight}, confirmed)
        began = time.perf_counter()
        await asyncio.sleep(_LISTEN)
        shares = await site.hear({"shares": [began, began + _LISTEN]})
        outside += binomial.split(shares.get("v2", 0), sum(shares.values()), weight / 100) < CERTAIN
        await _push(broker, {versions[0]: 100}, confirmed)
        await asyncio.sleep(_LISTEN / 5)
        versions.reverse()
        sent = time.perf_counter()
        await _push(broker, {versions[0]: 100}, confirmed)
        await asyncio.sleep(_LISTEN / 5)
        stale.append(await site.hear({"stale": versions[1], "since": sent}))
        await site.hear({"forget": True})
    await broker.change_route(SERVICE, {"v2": 100})
    return stale, confirmed, outside


async def _push(broker: Broker, weights: dict[str, int], took: list[float]) -> None:
    began = time.perf_counter()
    await broker.change_route(SERVICE, weights)
    took.append(time.perf_counter() - began)


async def _cycles(site: Site, count: int) -> tuple[list[float], float]:
    """Release v3 and roll it back; return how long calls still went to it, and the median cycle length."""
    rollbacks, lengths = [], []
    for _ in range(count):
        began = time.monotonic()
        await site.deploy("v3", steps=(50, 100), bake=0.0, window=3600.0, criteria=_CRITERIA)
        await site.phase("standby")
        await site.hear({"forget": True})
        asked = time.perf_counter()
        await ask.rollback(site.control, SERVICE)
        await site.phase("rolled-back")
        rollbacks.append(await site.hear({"stale": "v3", "since": asked}))
        lengths.append(time.monotonic() - began)
    return rollbacks, quantile(lengths, 0.5)


async def _fleet(site: Site, workers: int) -> float:
    """Replace a whole fleet in one step; return the seconds until the last old worker is gone."""
    record = ServiceRecord(service=SERVICE, scale=Scale.fixed(workers), calls=True)
    await site.control.put(service_key(SERVICE), record)
    await _until(lambda: _serving(site, "v2", workers))
    began = time.monotonic()
    await site.deploy("v3", steps=(100,), bake=0.0, window=0.0, criteria=_CRITERIA)
    await site.phase("done")
    await _until(lambda: _gone(site, "v2"))
    return time.monotonic() - began


async def _serving(site: Site, version: str, workers: int) -> bool:
    return sum(one.version == version for one in site.running.workers(SERVICE)) >= workers


async def _gone(site: Site, version: str) -> bool:
    return not any(one.version == version for one in site.running.workers(SERVICE))


async def _done(site: Site, log: Path, submitted: int) -> Counter[int]:
    """Count how often each job was done, once the queue is empty."""

    async def empty() -> bool:
        return (await site.running.bus.js.stream_info(jobs_stream(SERVICE))).state.messages == 0

    await _until(empty)
    lines = log.read_text().splitlines()  # noqa: ASYNC240
    found = Counter(int(line.split()[0]) for line in lines)
    if unknown := [n for n in found if not 0 <= n < submitted]:
        raise RuntimeError(f"jobs were done that were never submitted: {unknown[:5]}")
    return found


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    until = time.monotonic() + _PATIENCE
    while not await condition():
        if time.monotonic() > until:
            raise RuntimeError(f"it did not come true in {_PATIENCE:g} s")
        await asyncio.sleep(_POLL)


@asynccontextmanager
async def _installation(directory: Path, log: Path) -> AsyncIterator[Site]:
    """Run an installation with v1 from the working tree, images of v2 and v3, and the load."""
    store = directory / "data"
    config = {"log": str(log)}
    wanted = ServiceConfig(app="bench.shift.service:service", scale=Scale.fixed(WORKERS), config=config)
    server = ServerConfig(port=0, websocket_port=None, store=str(store))
    async with Installation.start(Config(services={SERVICE: wanted}, server=server), say=_silent) as running:
        for version in ("v2", "v3"):
            await asyncio.to_thread(build, Path(str(served.__file__)), version=version, data_dir=store, config=config)
        creds = running.broker.identities.creds_file("operator")
        async with child("bench.shift.load", running.broker.url, str(creds)) as load:
            yield Site(running, load, store)


def _silent(label: str, line: str) -> None:
    if "error" in line or "Traceback" in line:
        print(f"{label}: {line}", file=sys.stderr)
