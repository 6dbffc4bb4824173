"""Objects and blobs on a real server: compare-and-set, tombstones, pages, and what browsers are told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from headway import Conflict, InvalidSubject, MissingStream, NotFound
from headway.bus.client.limits import Rates
from headway.bus.errors import InvalidInput, RateLimited, TooLarge


class Agent(BaseModel):
    name: str
    calls: int = 0


async def test_an_object_is_read_as_it_was_written(bus):
    objects = bus.tenant("acme").objects
    revision = await objects.put("agent", "a_1", Agent(name="Ann"))
    found = await objects.get("agent", "a_1", as_=Agent)
    assert found is not None
    assert (found.id, found.value, found.revision) == ("a_1", Agent(name="Ann"), revision)
    assert abs((datetime.now(UTC) - found.at).total_seconds()) < 10
    assert await objects.get("agent", "a_2", as_=Agent) is None
    assert await bus.tenant("other").objects.get("agent", "a_1", as_=Agent) is None


async def test_of_many_writers_one_wins_and_the_others_are_told(bus):
    objects = bus.tenant("acme").objects
    first = await objects.put("agent", "a", Agent(name="Ann"), expect=0)
    with pytest.raises(Conflict):
        await objects.put("agent", "a", Agent(name="Bob"), expect=0)
    results = await asyncio.gather(
        *(objects.put("agent", "a", Agent(name="Ann", calls=n), expect=first) for n in range(1, 21)),
        return_exceptions=True,
    )
    won = [n for n, result in enumerate(results, 1) if isinstance(result, int)]
    assert len(won) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 19
    found = await objects.get("agent", "a", as_=Agent)
    assert found is not None
    assert found.value.calls == won[0]
    with pytest.raises(Conflict):
        await objects.delete("agent", "a", expect=first)
    assert await objects.put("agent", "a", Agent(name="Eve")) > found.revision  # without an expectation


async def test_a_deleted_object_is_gone_from_reads_and_leaves_a_tombstone(bus):
    objects = bus.tenant("acme").objects
    revision = await objects.put("agent", "a", Agent(name="Ann"))
    await objects.put("agent", "b", Agent(name="Bob"))
    tombstone = await objects.delete("agent", "a", expect=revision)
    assert tombstone > revision
    assert await objects.get("agent", "a", as_=Agent) is None
    assert [found.id for found in await objects.list("agent", as_=Agent)] == ["b"]
    stored = await bus.bus.js.get_last_msg("OBJECTS", "obj.acme.agent.a")
    assert (stored.data or b"", stored.headers["Headway-Operation"]) == (b"", "delete")
    await objects.put("agent", "a", Agent(name="Ann again"), expect=tombstone)
    assert len(await objects.list("agent", as_=Agent)) == 2


@pytest.mark.parametrize("count", [0, 1, 512, 513, 1100])
async def test_a_list_has_all_objects_of_its_type_and_tenant_in_the_order_of_their_change(bus, count):
    objects = bus.tenant("acme").objects
    await bus.tenant("other").objects.put("agent", "foreign", Agent(name="Eve"))
    await asyncio.gather(*(objects.put("agent", f"a{n}", Agent(name="Ann", calls=n)) for n in range(count)))
    await objects.put("queue", "q", {"length": 1})
    if count > 1:
        await objects.put("agent", "a0", Agent(name="changed last"))
    found = await objects.list("agent", as_=Agent)
    assert {each.id for each in found} == {f"a{n}" for n in range(count)}
    assert len(found) == count
    assert [each.revision for each in found] == sorted(each.revision for each in found)
    if count > 1:
        assert (found[-1].id, found[-1].value.name) == ("a0", "changed last")


async def test_every_change_is_republished_to_the_browsers_of_its_tenant_alone(bus):
    seen: asyncio.Queue = asyncio.Queue()

    async def take(message) -> None:
        seen.put_nowait((message.subject, message.data, (message.headers or {}).get("Headway-Operation")))

    await bus.bus.nc.subscribe("live.acme.>", cb=take)
    await bus.bus.nc.flush()
    await bus.tenant("other").objects.put("agent", "a", Agent(name="Eve"))
    objects = bus.tenant("acme").objects
    await objects.put("agent", "a", Agent(name="Ann"))
    await objects.delete("agent", "a")
    assert await asyncio.wait_for(seen.get(), 10) == ("live.acme.agent.a", b'{"name":"Ann","calls":0}', None)
    assert await asyncio.wait_for(seen.get(), 10) == ("live.acme.agent.a", b"", "delete")
    assert seen.empty()


async def test_an_id_that_breaks_the_grammar_is_refused(bus):
    with pytest.raises(InvalidSubject):
        await bus.tenant("acme").objects.put("agent", "a.b", Agent(name="Ann"))
    with pytest.raises(InvalidSubject):
        await bus.tenant("acme").blobs.put("../other/x", b"")


async def test_without_the_stream_the_error_names_it(bus):
    await bus.bus.js.delete_stream("OBJECTS")
    objects = bus.tenant("acme").objects
    with pytest.raises(MissingStream, match="OBJECTS"):
        await objects.get("agent", "a", as_=Agent)
    with pytest.raises(MissingStream, match="OBJECTS"):
        await objects.list("agent", as_=Agent)
    with pytest.raises(MissingStream, match="OBJECTS"):
        await objects.put("agent", "a", Agent(name="Ann"))


async def test_blobs_larger_than_a_message_are_stored_replaced_and_deleted(bus):
    blobs = bus.tenant("acme").blobs
    data = bytes(range(256)) * 12_000  # 3 MB
    await blobs.put("recordings/r1.wav", data, content_type="audio/wav")
    assert await blobs.get("recordings/r1.wav") == data
    await blobs.put("recordings/r1.wav", b"short")
    assert await blobs.get("recordings/r1.wav") == b"short"
    with pytest.raises(NotFound):
        await bus.tenant("other").blobs.get("recordings/r1.wav")
    await blobs.delete("recordings/r1.wav")
    await blobs.delete("recordings/r1.wav")  # twice is no error
    with pytest.raises(NotFound):
        await blobs.get("recordings/r1.wav")


async def test_a_patch_changes_what_it_names_and_keeps_the_rest(bus):
    objects = bus.tenant("acme").objects
    first = await objects.put("fax", "f", {"state": "new", "to": "+1", "line": {"speed": 9, "noise": 1}})
    second = await objects.patch("fax", "f", {"state": "sent", "to": None, "line": {"speed": 14}})
    found = await objects.get("fax", "f", dict)
    assert found is not None
    assert found.value == {"state": "sent", "line": {"speed": 14, "noise": 1}}
    assert found.revision == second > first
    assert await objects.patch("fax", "f", {"state": "sent"}) == second  # nothing is different: nothing is written
    with pytest.raises(NotFound):
        await objects.patch("fax", "nothing", {"a": 1})
    await objects.delete("fax", "f")
    with pytest.raises(NotFound):
        await objects.patch("fax", "f", {"a": 1})


async def test_patches_at_the_same_time_all_count(bus):
    objects = bus.tenant("acme").objects
    await objects.put("fax", "f", {})
    await asyncio.gather(*(objects.patch("fax", "f", {f"n{n}": n}, tries=50) for n in range(12)))
    found = await objects.get("fax", "f", dict)
    assert found is not None
    assert found.value == {f"n{n}": n for n in range(12)}


async def test_a_patch_that_others_keep_beating_gives_up(bus, monkeypatch):
    objects = bus.tenant("acme").objects
    await objects.put("fax", "f", {"n": 0})
    writing = type(objects)._write

    async def beaten(self, subject, payload, sent, expect, *, ttl=None):
        await writing(self, subject, b'{"n": -1}', {}, None)
        return await writing(self, subject, payload, sent, expect, ttl=ttl)

    monkeypatch.setattr(type(objects), "_write", beaten)
    with pytest.raises(Conflict, match="3 times"):
        await objects.patch("fax", "f", {"mine": 1}, tries=3)


@pytest.mark.parametrize("number", [1 << 53, -(1 << 53), (1 << 63) - 1])
async def test_an_integer_that_browsers_would_round_is_refused_naming_the_field(bus, number):
    objects = bus.tenant("acme").objects
    with pytest.raises(InvalidInput, match=rf"lines\.1\.amount is {number}") as caught:
        await objects.put("fax", "f", {"lines": [{}, {"amount": number}], "text": "x"})
    assert "text" in caught.value.remedy
    await objects.put("fax", "f", {"amount": (1 << 53) - 1, "text": str(number)})
    with pytest.raises(InvalidInput):
        await objects.patch("fax", "f", {"amount": number})


async def test_what_is_too_large_or_too_often_is_refused_by_tenant(bus):
    objects = bus.tenant("acme").objects
    with pytest.raises(TooLarge, match="262144"):
        await objects.put("fax", "f", {"text": "x" * 300_000})
    bus.bus.object_rates = Rates(rate=0.01, burst=2)
    await bus.tenant("acme").objects.put("fax", "a", {})
    await bus.tenant("acme").objects.delete("fax", "a")
    with pytest.raises(RateLimited, match="acme") as caught:
        await bus.tenant("acme").objects.put("fax", "a", {})
    assert caught.value.retry_after > 1
    await bus.tenant("other").objects.put("fax", "a", {})


async def test_a_tombstone_stays_for_the_time_that_is_given_and_ends(bus, until):
    objects = bus.tenant("acme").objects
    await objects.put("fax", "f", {})
    await objects.put("fax", "g", {})
    await objects.delete("fax", "f", keep=1)
    await objects.delete("fax", "g")
    kept = await bus.bus.js.get_last_msg("OBJECTS", "obj.acme.fax.g")
    assert kept.headers["Nats-TTL"] == str(30 * 86_400)

    async def ended() -> bool:
        return (await bus.bus.js.stream_info("OBJECTS")).state.messages == 1

    await until(ended)
    assert await objects.put("fax", "f", {}, expect=0)  # as if it had never been
