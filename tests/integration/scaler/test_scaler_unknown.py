"""A control record that is damaged or gone says nothing: what it is about stays as it was."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from headway.bus.nats.streams import CONTROL
from headway.control.records import Scale

SOURCE = """
from headway import Context, Service

app = Service("app", ack_wait=5, concurrency=4)

@app.rpc("echo")
async def echo(request: dict, ctx: Context) -> dict:
    return request
"""


async def rounds(fleet, scaler, count: int = 15) -> None:
    before = scaler.rounds
    await fleet.until(lambda: scaler.rounds > before + count)


async def damage(fleet, key: str) -> None:
    await fleet.bus.records.js.publish(f"$KV.CONTROL.{key}", b"{")


async def purge(fleet, _key: str) -> None:
    await fleet.bus.records.js.purge_stream(CONTROL)


@pytest.mark.parametrize("key", ["version.app.v1", "service.app"])
@pytest.mark.parametrize("spoil", [damage, purge])
async def test_a_scaler_that_starts_then_leaves_the_workers_alone(fleet, spoil, key):
    await fleet.declare(Scale.fixed(2), SOURCE, calls=True)
    first = await fleet.scaler()
    await fleet.serving(2)
    workers = fleet.workers()
    await fleet.end(first)
    await spoil(fleet, key)
    second = await fleet.scaler()
    await rounds(fleet, second)
    assert fleet.workers() == workers
    assert await fleet.bus.call("app", "echo", {"a": 1}, tenant="t", timeout=5) == {"a": 1}


async def test_once_it_is_mended_workers_that_die_are_replaced_again(fleet):
    await fleet.declare(Scale.fixed(1), SOURCE, calls=True)
    first = await fleet.scaler()
    await fleet.serving(1)
    await fleet.end(first)
    await damage(fleet, "version.app.v1")
    second = await fleet.scaler()
    await rounds(fleet, second, 5)
    (worker, pid), *_ = fleet.workers().items()
    os.kill(pid, signal.SIGKILL)
    await rounds(fleet, second, 5)
    assert worker not in fleet.workers()
    await fleet.control.mend("version.app.v1")
    await fleet.serving(1)


async def test_a_scaler_that_knew_the_record_goes_on_as_if_nothing_had_happened(fleet):
    await fleet.declare(Scale.fixed(1), SOURCE, calls=True)
    scaler = await fleet.scaler()
    await fleet.serving(1)
    for key in ("version.app.v1", "service.app", "scale.app.v1"):
        await damage(fleet, key)
    await rounds(fleet, scaler, 5)
    (worker, pid), *_ = fleet.workers().items()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.5)
    await fleet.serving(1)
    assert worker not in fleet.workers()
