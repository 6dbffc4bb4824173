"""Connecting ends in time, whatever nats-py makes of being told to stop."""

from __future__ import annotations

import asyncio

import nats.aio.client
import pytest

from headway import connect
from headway.bus import tasks
from headway.bus.errors import ConnectionFailed


@pytest.fixture
def deaf(monkeypatch) -> list[str]:
    """nats-py that loses the first cancellation, as it does when it comes in the same turn as an answer."""
    monkeypatch.setattr(tasks, "_AGAIN", 0.02)
    ended: list[str] = []

    async def trying(_self, **_options: object) -> None:
        try:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)
        finally:
            ended.append("ended")

    monkeypatch.setattr(nats.aio.client.Client, "connect", trying)
    return ended


async def test_a_lost_cancellation_does_not_make_a_refused_connection_try_for_ever(deaf):
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionFailed, match=r"within 0\.1 s"):
            await connect("nats://127.0.0.1:1", timeout=0.1)
    assert deaf == ["ended"]


async def test_nor_does_it_when_whoever_connects_is_cancelled(deaf):
    task = asyncio.ensure_future(connect("nats://127.0.0.1:1", timeout=3600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert deaf == ["ended"]
