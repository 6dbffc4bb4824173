"""Events on a real server: each service each event once, its workers share, a replay reaches only who gave up."""

from __future__ import annotations

import asyncio
from collections import Counter

from pydantic import BaseModel

from headway.bus import Context, Reject, Retry, Service
from headway.bus.client import dead


class Ended(BaseModel):
    call: int


def listening(name: str) -> tuple[Service, Counter[int], Counter[str]]:
    """A service that counts the calls it heard the end of, and which worker did."""
    service, heard, by = Service(name), Counter[int](), Counter[str]()

    @service.on("call.ended")
    async def ended(event: Ended, ctx: Context) -> None:
        heard[event.call] += 1
        by[ctx.worker] += 1
        await asyncio.sleep(0.001)

    return service, heard, by


async def test_every_service_hears_every_event_once_and_its_workers_share_them(bus, until):
    billing, billed, by = listening("billing")
    archive, archived, _ = listening("archive")
    async with bus.serving(billing, workers=2), bus.serving(archive):
        await asyncio.gather(*(bus.emit("call.ended", Ended(call=n), tenant=f"t{n % 5}") for n in range(300)))
        await until(lambda: len(billed) == len(archived) == 300)
    assert set(billed.values()) == set(archived.values()) == {1}
    assert len(by) == 2
    assert min(by.values()) > 10


async def test_two_versions_of_a_service_hear_each_event_once_together(bus, until):
    first, heard_first, _ = listening("billing")
    second, heard_second, _ = listening("billing")
    async with bus.serving(first, version="v1"), bus.serving(second, version="v2"):
        await asyncio.gather(*(bus.emit("call.ended", Ended(call=n)) for n in range(100)))
        await until(lambda: (heard_first + heard_second).total() == 100)
    assert set((heard_first + heard_second).values()) == {1}


async def test_events_wait_for_a_service_that_is_down_but_not_for_one_that_never_was(bus, until):
    billing, billed, _ = listening("billing")
    archive, archived, _ = listening("archive")
    async with bus.serving(billing):
        pass
    await bus.emit("call.ended", Ended(call=1))
    async with bus.serving(archive), bus.serving(billing):
        await until(lambda: billed[1])
        await bus.emit("call.ended", Ended(call=2))
        await until(lambda: archived[2] and billed[2])
    assert archived == {2: 1}


async def test_other_types_and_deeper_ones_are_not_heard(bus, until):
    billing, billed, _ = listening("billing")
    async with bus.serving(billing):
        for n, kind in enumerate(["call", "call.started", "call.ended.late", "call.ended"]):
            await bus.emit(kind, Ended(call=n))
        await until(lambda: billed)
    assert billed == {3: 1}


async def test_an_event_with_a_key_is_stored_once(bus, until):
    billing, billed, _ = listening("billing")
    async with bus.serving(billing):
        receipts = [await bus.emit("call.ended", Ended(call=1), key="c1") for _ in range(3)]
        await bus.emit("call.ended", Ended(call=2))
        await until(lambda: billed[2])
    assert [receipt.duplicate for receipt in receipts] == [False, True, True]
    assert billed == {1: 1, 2: 1}


async def test_a_failing_event_is_tried_again_by_the_service_that_failed_alone(bus, until):
    archive, archived, _ = listening("archive")
    billing, attempts = Service("billing"), []

    @billing.on("call.ended", retry=Retry(attempts=3, backoff=(0,)))
    async def ended(event: Ended, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.operation))
        if ctx.attempt < 3:
            raise RuntimeError("not now")

    async with bus.serving(billing) as [worker], bus.serving(archive):
        await bus.emit("call.ended", Ended(call=1))
        await until(lambda: worker.counters.processed == 1)
        await until(lambda: archived)
    assert attempts == [(1, "call.ended"), (2, "call.ended"), (3, "call.ended")]
    assert archived == {1: 1}


async def test_a_dead_event_is_replayed_only_to_the_service_that_gave_it_up(bus, until, letters):
    archive, archived, _ = listening("archive")
    billing, billed, broken = Service("billing"), [], True

    @billing.on("call.ended")
    async def ended(event: Ended) -> None:
        if broken:
            raise Reject("no price")
        billed.append(event.call)

    async with bus.serving(billing), bus.serving(archive):
        await bus.emit("call.ended", Ended(call=1), tenant="acme")
        [letter] = await letters(1)
        assert (letter.service, letter.tenant, letter.operation) == ("billing", "acme", "on-call-ended")
        assert (letter.cause, letter.stream, letter.subject) == ("rejected", "EVENTS", "event.acme.call.ended")
        await until(lambda: archived)
        broken = False
        await dead.replay(bus.bus, letter)
        await until(lambda: billed == [1])
        await bus.emit("call.ended", Ended(call=2), tenant="acme")  # whatever comes after the replay has passed it
        await until(lambda: archived[2] and billed == [1, 2])
    assert archived == {1: 1, 2: 1}
    assert [left async for left in dead.list_(bus.bus.js)] == []
