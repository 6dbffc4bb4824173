"""Queues are made by control, when a worker asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headway.broker import queues
from headway.broker.broker import Broker
from headway.bus.errors import StoreError
from headway.bus.service import Service
from headway.bus.tasks import end
from headway.bus.worker.queues import QueueDeclaration, asked, declaration
from headway.bus.worker.worker import Worker


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Broker]:
    """Start a server without any control process."""
    async with Broker.start(tmp_path, port=0, ws_port=None) as broker:
        yield broker


def fax() -> Service:
    service = Service("fax")

    @service.job("send")
    async def send(request: str) -> None: ...

    @service.on("call.ended")
    async def ended(request: str) -> None: ...

    return service


async def test_a_worker_without_control_says_what_it_waits_for_and_serves_once_control_answers(
    alone: Broker, caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    caplog.set_level(logging.WARNING, "headway.bus")
    async with await alone.connect("worker", service="fax") as bus, await alone.connect("control") as control:
        worker = Worker(fax(), bus)
        starting = asyncio.ensure_future(worker.__aenter__())
        await until(lambda: "waits for its queues: JOBS_fax/v1-0 is missing" in caplog.text)
        assert not starting.done()
        async with queues.served(control):
            await starting
            assert worker.state == "serving"
        await worker.__aexit__(None, None, None)


async def test_queues_that_exist_are_enough(alone: Broker) -> None:
    async with await alone.connect("worker", service="fax") as bus, await alone.connect("control") as control:
        async with queues.served(control), Worker(fax(), bus):
            pass
        async with asyncio.timeout(30), Worker(fax(), bus) as worker:
            assert worker.state == "serving"


async def test_a_worker_that_ends_while_it_waits_leaves_nothing_behind(alone: Broker, until: Any) -> None:
    async with await alone.connect("worker", service="fax") as bus:
        starting = asyncio.ensure_future(Worker(fax(), bus).__aenter__())
        await asyncio.sleep(0.2)
        await end([starting])
        assert starting.cancelled()


async def test_what_cannot_be_read_or_is_too_much_is_refused(alone: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        await alone.connect("worker", service="fax") as bus,
        await alone.connect("control") as control,
        queues.served(control),
    ):
        reply = await bus.request("queues.fax.v1", b"{}", 30, {})
        assert "Field required" in (reply.headers or {})["Nats-Service-Error"]
        assert await asked(bus, "fax", "v1", declaration(fax()))
        monkeypatch.setattr(queues, "MOST", 16)
        with pytest.raises(StoreError, match="has 16 consumers"):
            await asked(bus, "fax", "v2", declaration(fax()))
        only_events = QueueDeclaration(jobs=False, queue_bytes=1, queue_per_subject=1, events=("a.b",), ack_wait=1)
        assert await asked(bus, "fax", "v2", only_events)
