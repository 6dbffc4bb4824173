"""The quiet tenants of the fairness bench: a few jobs each, and how long every one of them took."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.message import SERVICE
from bench.numbers import quantile

_PATIENCE = 120.0
_LATE = 0.05
"""Seconds by which the submitter may be late before it lets a job go, instead of sending a burst."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from the submission of a job to the end of its handler, by tenant."""

    by_tenant: Mapping[str, list[float]]

    def p99(self) -> float:
        """Return the 99th percentile over all tenants."""
        return quantile([took for samples in self.by_tenant.values() for took in samples], 0.99)

    def worst(self) -> float:
        """Return the 99th percentile of the tenant with the largest one."""
        return max(quantile(samples, 0.99) for samples in self.by_tenant.values())


class QuietTenants:
    """Submit jobs in turns, as plain NATS clients.

    Args:
        nc: the connection.
        tenants: how many.
        rate: jobs per second of all tenants together.
    """

    def __init__(self, nc: Client, tenants: int, rate: float) -> None:
        self._nc = nc
        self._tenants = tenants
        self._interval = 1 / rate
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._count = 0
        self._more = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Collect the reported latencies of their jobs."""

        async def on_sample(message: Msg) -> None:
            sample = orjson.loads(message.data)
            self._samples[sample["tenant"]].append(sample["took"])
            self._count += 1
            self._more.set()

        subscription = await self._nc.subscribe(f"{SERVICE}.took", cb=on_sample)
        yield
        await subscription.unsubscribe()

    async def submit(self, until: asyncio.Event) -> Latencies:
        """Submit until stopped, at least one job each; return the latencies once all jobs are done."""
        self._samples.clear()
        self._count = sent = 0
        due = time.perf_counter()
        while not until.is_set() or sent < self._tenants:
            subject = f"job.{SERVICE}.quiet-{sent % self._tenants}.probe"
            await self._nc.publish(subject, orjson.dumps({"sent": time.perf_counter()}))
            sent += 1
            due = max(due + self._interval, time.perf_counter() - _LATE)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        async with asyncio.timeout(_PATIENCE):
            while self._count < sent:
                self._more.clear()
                await self._more.wait()
        return Latencies({tenant: list(samples) for tenant, samples in self._samples.items()})
