"""`voicemail` on a real server."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest

from headway import InvalidInput, NotFound, Rejected
from headway.services.calls import calls
from headway.services.voicemail import Chunk, Message, Page, voicemail, wav

TENANT = "acme"


def recording(seconds: float = 0.5, rate: int = 8000) -> bytes:
    return wav.write(np.sin(np.arange(int(seconds * rate)) / 3).astype(np.float32), rate)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def call(bus, operation: str, returns: type, **request):
    return await bus.call("voicemail", operation, request, tenant=TENANT, returns=returns, timeout=5)


async def deposit(bus, message: str, mailbox: str = "alice", **request) -> None:
    given = request or {"data": encoded(recording())}
    request = {"message": message, "mailbox": mailbox, "caller": "+49301", **given}
    await bus.submit("voicemail", "deposit", request, tenant=TENANT)


async def until(bus, total: int, mailbox: str = "alice") -> Page:
    """The mailbox once it holds so many messages."""
    async with asyncio.timeout(10):
        while True:
            found = await call(bus, "list", Page, mailbox=mailbox)
            if found.total == total:
                return found
            await asyncio.sleep(0.01)


async def until_stored(bus, stream: str) -> dict[str, str]:
    """The headers of the stream's last message, once it has one."""
    async with asyncio.timeout(10):
        while True:
            info = await bus.bus.js.stream_info(stream)
            if info.state.messages:
                return (await bus.bus.js.get_msg(stream, info.state.last_seq)).headers or {}
            await asyncio.sleep(0.01)


async def fetched(bus, message: str, length: int | None = None) -> bytes:
    data = b""
    while True:
        chunk = await call(bus, "fetch", Chunk, message=message, start=len(data), length=length)
        data += base64.b64decode(chunk.data)
        if len(data) == chunk.total:
            return data


async def test_a_recording_is_stored_with_its_duration_and_waveform(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1")
        (entry,) = (await until(bus, 1)).entries
        assert (entry.message, entry.kind, entry.seconds, entry.heard) == ("m1", "voicemail", 0.5, False)
        found = await bus.tenant(TENANT).objects.get("voicemail", "m1", as_=Message)
        assert found is not None
        assert (found.value.rate, len(found.value.peaks), found.value.size) == (8000, 100, 44 + 8000)


async def test_a_large_recording_comes_as_a_blob_and_is_fetched_in_ranges(bus):
    async with bus.serving(voicemail, config={"segment_bytes": 4096, "range_bytes": 10_000}):
        await bus.tenant(TENANT).blobs.put("uploads/long.wav", recording(8, 16_000))
        await deposit(bus, "m1", blob="uploads/long.wav")
        await until(bus, 1)
        whole = await fetched(bus, "m1")
        assert wav.read(whole, 60).seconds == 8
        assert await fetched(bus, "m1", length=7777) == whole
        part = await call(bus, "fetch", Chunk, message="m1", start=4000, length=200)
        assert base64.b64decode(part.data) == whole[4000:4200]
        assert (part.start, part.length, part.total) == (4000, 200, len(whole))
        most = await call(bus, "fetch", Chunk, message="m1", length=10**9)
        assert most.length == 10_000


async def test_a_reply_never_outgrows_what_the_server_takes(bus):
    async with bus.serving(voicemail, config={"range_bytes": 10**9}):
        await bus.tenant(TENANT).blobs.put("uploads/long.wav", recording(100))
        await deposit(bus, "m1", blob="uploads/long.wav")
        await until(bus, 1)
        chunk = await call(bus, "fetch", Chunk, message="m1")
        assert 0 < chunk.length < chunk.total
        assert len(chunk.data) < bus.bus.nc.max_payload


async def test_what_is_past_the_end_or_unknown_is_refused(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1")
        await until(bus, 1)
        with pytest.raises(Rejected, match="past the end"):
            await call(bus, "fetch", Chunk, message="m1", start=8044)
        with pytest.raises(Rejected, match="no recording"):
            await call(bus, "fetch", Chunk, message="m2")
        with pytest.raises(InvalidInput):
            await call(bus, "fetch", Chunk, message="m*")


async def test_what_is_no_recording_is_dead_lettered_with_its_cause(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1", data=encoded(b"noise"))
        letter = await until_stored(bus, "DEAD")
        assert (letter["Headway-Dead-Cause"], letter["Headway-Dead-Reason"]) == ("rejected", "this is not a WAV file")
        assert (await call(bus, "list", Page, mailbox="alice")).total == 0


async def test_a_deposit_delivered_twice_is_one_message(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1")
        await until(bus, 1)
        await deposit(bus, "m1")
        await deposit(bus, "m2")
        assert [entry.message for entry in (await until(bus, 2)).entries] == ["m2", "m1"]


async def test_messages_are_heard_counted_and_paged(bus):
    async with bus.serving(voicemail):
        for number in range(3):
            await deposit(bus, f"m{number}")
            await until(bus, number + 1)
        heard = await call(bus, "mark-heard", Page, mailbox="alice", message="m1")
        assert (heard.total, heard.unheard) == (3, 2)
        first = await call(bus, "list", Page, mailbox="alice", limit=2)
        second = await call(bus, "list", Page, mailbox="alice", limit=2, before=first.next)
        assert [entry.message for entry in [*first.entries, *second.entries]] == ["m2", "m1", "m0"]
        with pytest.raises(Rejected, match="no message"):
            await call(bus, "mark-heard", Page, mailbox="alice", message="m9")


async def test_a_deleted_message_is_gone_with_its_recording_and_does_not_come_back(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1")
        await until(bus, 1)
        for _ in range(2):
            assert (await call(bus, "delete", Page, mailbox="alice", message="m1")).total == 0
        with pytest.raises(Rejected):
            await call(bus, "fetch", Chunk, message="m1")
        await deposit(bus, "m1")
        await deposit(bus, "m2", "bob")
        await until(bus, 1, "bob")
        assert (await call(bus, "list", Page, mailbox="alice")).total == 0
        with pytest.raises(NotFound):
            await bus.tenant(TENANT).blobs.get("voicemail/m1/00000")


async def test_a_message_of_another_mailbox_is_not_deleted(bus):
    async with bus.serving(voicemail):
        await deposit(bus, "m1")
        await until(bus, 1)
        with pytest.raises(Rejected, match="no message"):
            await call(bus, "delete", Page, mailbox="bob", message="m1")
        assert await fetched(bus, "m1")


async def test_many_deposits_at_once_all_reach_the_mailbox(bus):
    async with bus.serving(voicemail, workers=2):
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(deposit(bus, f"m{number}"))
        found = await until(bus, 20)
        assert sorted(entry.number for entry in found.entries) == list(range(1, 21))


async def test_a_missed_call_is_entered_once_in_the_mailbox_of_its_team(bus):
    async with bus.serving(voicemail), bus.serving(calls):
        request = {"call": "c1", "caller": "+49302", "skill": "sales", "language": "en"}
        await bus.call("calls", "route", request, tenant=TENANT, timeout=10)
        await bus.call("calls", "hangup", {"call": "c1"}, tenant=TENANT, timeout=10)
        (entry,) = (await until(bus, 1, "sales")).entries
        assert (entry.message, entry.kind, entry.caller) == ("missed-c1", "missed_call", "+49302")
        event = {"call": "c1", "caller": "+49302", "skill": "sales", "at": 1.0}
        await bus.emit("call.missed", event, tenant=TENANT)
        await bus.emit("call.missed", {**event, "call": "c2"}, tenant=TENANT)
        assert {entry.message for entry in (await until(bus, 2, "sales")).entries} == {"missed-c1", "missed-c2"}
