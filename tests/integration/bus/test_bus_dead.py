"""Dead letters: found by service and tenant, replayed exactly once, purged."""

from __future__ import annotations

import asyncio

import pytest

from headway.bus import NotFound, NotServed, Reject, Service
from headway.bus.client import dead


class Repairable(Service):
    """A service that rejects all work until it is repaired."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.broken, self.done = True, []

        @self.job("work")
        async def work(request: str) -> None:
            if self.broken:
                raise Reject("broken")
            self.done.append(request)


async def listed(bus, service: str | None = None, tenant: str | None = None) -> list[tuple[str, str, bytes]]:
    return [(letter.service, letter.tenant, letter.payload) async for letter in dead.list_(bus.bus.js, service, tenant)]


async def test_dead_letters_are_listed_by_service_and_tenant_oldest_first(bus, letters):
    fax, mail = Repairable("fax"), Repairable("mail")
    async with bus.serving(fax), bus.serving(mail):
        for n, (service, tenant) in enumerate([("fax", "a"), ("fax", "b"), ("mail", "a"), ("fax", "a")], 1):
            await bus.submit(service, "work", f"{n}", tenant=tenant)
            await letters(n)
    one, two, three, four = ("fax", "a", b'"1"'), ("fax", "b", b'"2"'), ("mail", "a", b'"3"'), ("fax", "a", b'"4"')
    assert await listed(bus) == [one, two, three, four]
    assert await listed(bus, "fax") == [one, two, four]
    assert await listed(bus, tenant="a") == [one, three, four]
    assert await listed(bus, "fax", "a") == [one, four]
    assert await listed(bus, "mail", "b") == []


async def test_one_letter_is_shown_by_its_number_and_gone_after_a_purge(bus, letters):
    fax = Repairable("fax")
    async with bus.serving(fax):
        await bus.submit("fax", "work", "x")
        await bus.submit("fax", "work", "y")
        first, second = await letters(2)
    assert await dead.show(bus.bus.js, first.seq) == first
    await dead.purge(bus.bus.js, first.seq)
    await dead.purge(bus.bus.js, first.seq)  # twice is no error
    with pytest.raises(NotFound, match=f"no dead letter {first.seq}"):
        await dead.show(bus.bus.js, first.seq)
    assert await dead.show(bus.bus.js, second.seq) == second


async def test_a_letter_replayed_by_several_people_at_once_is_done_once(bus, letters, until):
    fax = Repairable("fax")
    async with bus.serving(fax):
        await bus.bus.store("job.fax.acme.work", b'"x"', {"Nats-Msg-Id": "k", "X-Shop": "Berlin"})
        [letter] = await letters(1)
        fax.broken = False
        await asyncio.gather(*(dead.replay(bus.bus, letter) for _ in range(5)))
        await dead.replay(bus.bus, letter)
        await bus.submit("fax", "work", "after", tenant="acme")
        await until(lambda: "after" in fax.done)
        assert fax.done == ["x", "after"]
        assert (await bus.bus.js.stream_info("JOBS_fax")).state.last_seq == 3
    assert await listed(bus) == []


async def test_a_replay_that_dies_again_is_a_new_letter_with_the_original_headers(bus, letters, until):
    fax = Repairable("fax")
    async with bus.serving(fax):
        await bus.bus.store("job.fax.acme.work", b'"x"', {"Nats-Msg-Id": "k", "X-Shop": "Berlin"})
        [letter] = await letters(1)
        await dead.replay(bus.bus, letter)

        async def others() -> list[dead.DeadLetter]:
            return [found async for found in dead.list_(bus.bus.js) if found.seq != letter.seq]

        again = await until(others)
    assert len(again) == 1
    assert (again[0].payload, again[0].headers["X-Shop"]) == (b'"x"', "Berlin")
    assert again[0].stream_seq == 2


async def test_a_letter_that_nobody_can_take_is_kept(bus, letters):
    fax = Repairable("fax")
    async with bus.serving(fax):
        await bus.submit("fax", "work", "x")
        [letter] = await letters(1)
    await bus.broker.set_routes({})
    with pytest.raises(NotServed):
        await dead.replay(bus.bus, letter)
    assert await dead.show(bus.bus.js, letter.seq) == letter


async def test_a_payload_too_large_to_keep_beside_its_headers_goes_through_a_blob(bus, letters, until):
    fax = Repairable("fax")
    large = "x" * ((1 << 20) - 2048)
    async with bus.serving(fax):
        await bus.submit("fax", "work", large, tenant="acme")
        [letter] = await letters(1)
        assert (letter.payload, letter.blob) == (b"", "dead/fax/1")
        assert await bus.tenant("acme").blobs.get(letter.blob) == f'"{large}"'.encode()
        fax.broken = False
        await dead.replay(bus.bus, letter)
        await until(lambda: fax.done == [large])
    with pytest.raises(NotFound):
        await bus.tenant("acme").blobs.get(letter.blob)
    assert await listed(bus) == []


async def test_work_is_not_lost_while_its_letter_cannot_be_stored(bus, letters, until):
    fax = Repairable("fax")
    [declared] = [(await bus.bus.js.stream_info("DEAD")).config]
    await bus.bus.js.delete_stream("DEAD")
    async with bus.serving(fax) as [worker]:
        await bus.submit("fax", "work", "x")
        await until(lambda: worker.counters.rejected >= 1)
        await until(lambda: worker.beat().in_hand == 0)
        assert worker.counters.dead == 0
        assert (await bus.bus.js.stream_info("JOBS_fax")).state.messages == 1
        await bus.bus.js.add_stream(declared)
        [letter] = await letters(1)
        assert letter.payload == b'"x"'
