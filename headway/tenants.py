"""Tenants: what each of them has queued, in hand and used, and who is sidelined."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nats.js import JetStreamContext
from pydantic import BaseModel

from headway.bus.client.bus import Bus
from headway.bus.errors import InvalidSubject, MissingStream, StoreError
from headway.bus.nats import jsapi
from headway.bus.nats.refusals import asking
from headway.bus.nats.streams import JOBS
from headway.bus.nats.streams import weights as weights_of
from headway.bus.telemetry.outcomes import OTHERS
from headway.bus.wire.beat import Beat
from headway.bus.wire.subjects import parse_job
from headway.control.tenants import TenantLoad, loads

DATED: Final = 50
"""Maximum number of tenants whose oldest job is looked up."""
_TIMEOUT: Final = 5.0


class Sidelining(BaseModel):
    """Where, for how long and why a tenant is sidelined."""

    service: str
    version: str
    seconds: float
    why: str


class TenantRow(BaseModel):
    """One tenant.

    Attributes:
        tenant: its name; empty for all tenants that workers do not report by name.
        queued: jobs that are not done, over all services.
        oldest_s: age of the oldest of them in seconds, since it was stored in its lane; None if unknown.
        in_hand: calls, jobs and events being worked on.
        busy_s: handler seconds in a minute, a moving average.
        weight: its part of the workers' time when tenants compete; 1 unless it was given another one.
        share: its part of all handler seconds, from 0 to 1; None if there are none.
        sidelined: where it is sidelined.
    """

    tenant: str
    queued: int
    oldest_s: float | None
    in_hand: int
    busy_s: float
    weight: float
    share: float | None
    sidelined: list[Sidelining]


class Backlog(NamedTuple):
    """What the streams say, by tenant.

    Attributes:
        queued: jobs that are not done.
        ages: seconds since the oldest of them was stored; only for those with the most jobs.
        weights: weights that are not 1.
    """

    queued: Mapping[str, int]
    ages: Mapping[str, float]
    weights: Mapping[str, float]


class Tenants(BaseModel):
    """All tenants that have jobs or used a worker lately: the most queued first, then the busiest."""

    url: str
    rows: list[TenantRow]


def combine(url: str, beats: Iterable[Beat], backlog: Backlog) -> Tenants:
    """Combine the collected data. Pure.

    Args:
        url: of the server.
        beats: the last heartbeat of each worker.
        backlog: what the streams say.
    """
    found = loads(beats)
    total = sum(load.busy for load in found.values())
    rows = []
    for tenant in found.keys() | backlog.queued.keys():
        load = found.get(tenant, TenantLoad())
        aside = [
            Sidelining(service=one.service, version=one.version, seconds=one.seconds, why=one.why) for one in load.aside
        ]
        rows.append(
            TenantRow(
                tenant=tenant,
                queued=backlog.queued.get(tenant, 0),
                oldest_s=backlog.ages.get(tenant),
                in_hand=load.in_hand,
                busy_s=round(load.busy, 3),
                weight=backlog.weights.get(tenant, 1.0),
                share=round(load.busy / total, 4) if total else None,
                sidelined=aside,
            )
        )
    rows.sort(key=lambda row: (row.tenant == OTHERS, -row.queued, -row.busy_s, row.tenant))
    return Tenants(url=url, rows=rows)


async def read(bus: Bus) -> Backlog:
    """Read the backlog of all services.

    Raises:
        StoreError: if JetStream refuses.
        ConnectionFailed: without an answer in time.
    """
    streams, _ = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    names = [name for one in streams if (name := one["config"]["name"]).startswith(JOBS) and one["state"]["messages"]]
    counts = await asyncio.gather(*(_counts(bus.js, name) for name in names))
    total: Counter[str] = Counter()
    for of_stream in counts:
        total.update(of_stream)
    shown = [tenant for tenant, _ in total.most_common(DATED)]
    looked = [
        (name, tenant) for name, of_stream in zip(names, counts, strict=True) for tenant in shown if of_stream[tenant]
    ]
    ages = await asyncio.gather(*(_age(bus, name, tenant) for name, tenant in looked))
    oldest: dict[str, float] = {}
    for (_, tenant), age in zip(looked, ages, strict=True):
        if age is not None:
            oldest[tenant] = max(age, oldest.get(tenant, 0.0))
    weights: dict[str, float] = {}
    for one in streams:
        if one["config"]["name"].startswith(JOBS):
            weights.update(weights_of(one["config"].get("metadata")))
    return Backlog(dict(total), oldest, weights)


async def _counts(js: JetStreamContext, stream: str) -> Counter[str]:
    found: Counter[str] = Counter()
    try:
        async with asking(f"stream {stream}", _TIMEOUT):
            info = await js.stream_info(stream, subjects_filter=">")
    except MissingStream:
        return found
    for subject, count in (info.state.subjects or {}).items():
        try:
            found[parse_job(subject).tenant] += count
        except InvalidSubject:
            continue
    return found


async def _age(bus: Bus, stream: str, tenant: str) -> float | None:
    """Return the age of a tenant's oldest job, by this machine's clock; None if it is done meanwhile."""
    subject = f"job.{stream.removeprefix(JOBS)}.*.*.{tenant}.*"
    try:
        found = await jsapi.request(bus.nc, f"STREAM.MSG.GET.{stream}", {"seq": 1, "next_by_subj": subject})
    except StoreError:
        return None
    stored = datetime.fromisoformat(found["message"]["time"])
    return max(0.0, (datetime.now(UTC) - stored).total_seconds())
