"""A full worker refuses the tenant with the most calls in hand first."""

from __future__ import annotations

import asyncio

import pytest

from headway.bus import Overloaded, Service
from headway.bus.worker import rpc


def holding(release: asyncio.Event, started: list[str]) -> Service:
    app = Service("app", max_inflight=8)

    @app.rpc("hold")
    async def hold(request: object, ctx) -> str:
        started.append(ctx.tenant)
        await release.wait()
        return ctx.tenant

    @app.rpc("work")
    async def work(request: object, ctx) -> str:
        await asyncio.sleep(0.02)
        return ctx.tenant

    return app


async def test_while_one_tenant_floods_a_full_worker_no_call_of_another_is_refused(bus):
    async with bus.serving(holding(asyncio.Event(), [])) as [worker]:
        refused = over = 0

        async def flood() -> None:
            nonlocal refused
            while not over:
                try:
                    await bus.call("app", "work", 0, tenant="flood", timeout=5)
                except Overloaded:
                    refused += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(flood())
            await asyncio.sleep(0.2)
            for _ in range(30):
                assert await bus.call("app", "work", 0, tenant="quiet", timeout=2) == "quiet"
            over = 1
    assert refused > 0
    assert worker.counters.shed == refused


async def test_a_call_that_gets_no_slot_in_time_is_refused(bus, until, monkeypatch):
    monkeypatch.setattr(rpc, "PATIENCE", 0.1)
    release, started = asyncio.Event(), []
    async with bus.serving(holding(release, started)), asyncio.TaskGroup() as group:
        held = [group.create_task(bus.call("app", "hold", 0, tenant="flood", timeout=9)) for _ in range(8)]
        await until(lambda: len(started) == 8)
        with pytest.raises(Overloaded) as caught:
            await bus.call("app", "hold", 0, tenant="quiet", timeout=5)
        assert caught.value.retry_after == 0.25
        release.set()
        assert [await one for one in held] == ["flood"] * 8
