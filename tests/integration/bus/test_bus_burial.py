"""Whatever arrived can be buried, and comes back from its grave as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headway import InvalidSubject, Reject, Service
from headway.bus import NotFound
from headway.bus.client import dead
from headway.bus.nats.streams import LETTERS


def refusing() -> Service:
    app = Service("app")

    @app.job("work")
    async def work(request: object) -> None:
        raise Reject("no")

    return app


async def raw(bus, subject: str, payload: bytes, lines: dict[str, str]) -> None:
    """Publish as a client does that checks no headers."""
    head = b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items()) + b"\r\n"
    nc = bus.bus.nc
    await nc._send_command(
        b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(head), len(head + payload), head, payload)
    )
    await nc._flush_pending()
    await nc.flush()


async def buried(bus, letters, until) -> dead.DeadLetter:
    async def is_empty() -> bool:
        return (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0

    [letter] = await letters(1)
    await until(is_empty)
    return letter


async def test_a_header_whose_name_no_client_may_send_is_kept_in_the_letter(bus, letters, until):
    async with bus.serving(refusing()):
        await raw(bus, "job.app.acme.work", b"1", {"X-Paren(1)": "odd", "X-Plain": "kept"})
        letter = await buried(bus, letters, until)
    assert letter.headers["X-Paren(1)"] == "odd"
    assert letter.headers["X-Plain"] == "kept"


@pytest.mark.parametrize("size", [7_900, 40_000, 64_000])
@pytest.mark.parametrize("payload", [10, (1 << 20) - 70_000])
async def test_large_headers_on_any_payload_are_buried_and_replayed(bus, letters, until, size, payload):
    async with bus.serving(refusing()) as [worker]:
        body = b'"' + b"x" * payload + b'"'
        await raw(bus, "job.app.acme.work", body, {"X-Large": "y" * size})
        letter = await buried(bus, letters, until)
        await dead.replay(bus.bus, letter)
        await until(lambda: worker.counters.dead == 2)
        [again] = await letters(1)
        await dead.discard(bus.bus, again)
        blobs = await bus.bus.js.stream_info("OBJ_BLOBS", subjects_filter="$O.BLOBS.C.>")
        assert not blobs.state.subjects  # no blob of a letter is left behind
    assert worker.counters.failed == 0


async def test_an_operation_that_breaks_the_grammar_is_buried_under_one_that_does_not(bus, letters, until):
    async with bus.serving(refusing()):
        await raw(bus, "job.app.acme.BAD_1", b"1", {})
        letter = await buried(bus, letters, until)
        assert (letter.operation, letter.cause) == ("bad-1", "unknown_operation")
        assert letter.subject.endswith(".acme.BAD_1")
        with pytest.raises(InvalidSubject, match="BAD_1"):
            await dead.replay(bus.bus, letter)


async def test_a_letter_that_somebody_forged_does_not_hide_the_others(bus, letters):
    async with bus.serving(refusing()):
        await bus.bus.nc.request(
            "dead.app.acme.forged", b"x", headers={"Headway-Dead-Attempts": "many", "Headway-Dead-At": "soon"}
        )
        await bus.submit("app", "work", 1)
        forged, real = await letters(2)
    assert (forged.operation, forged.attempts) == ("forged", 0)
    assert real.operation == "work"


async def test_whatever_operations_a_tenant_makes_up_their_letters_share_one_bound(bus, letters):
    async with bus.serving(refusing()):
        for n in range(5):
            await bus.submit("app", f"made-up-{n}", n, tenant="acme")
        found = await letters(5)
        state = (await bus.bus.js.stream_info("DEAD", subjects_filter=">")).state
    assert state.subjects == {"dead.app.acme.unknown-operation": 5}
    assert [letter.operation for letter in found] == [f"made-up-{n}" for n in range(5)]


async def test_a_new_letter_takes_the_room_of_the_oldest_of_its_tenant(bus, letters, monkeypatch):
    config = (await bus.bus.js.stream_info("DEAD")).config
    assert config.max_msgs_per_subject == LETTERS
    await bus.bus.js.update_stream(replace(config, max_msgs_per_subject=3))
    async with bus.serving(refusing()):
        await bus.submit("app", "work", "globex", tenant="globex")
        await letters(1)
        for n in range(5):
            await bus.submit("app", "work", n, tenant="acme")
        await letters(4)
        found = await letters(4)
    assert [letter.payload for letter in found if letter.tenant == "globex"] == [b'"globex"']
    assert len(found) == 4


async def test_a_large_letter_takes_the_blob_of_the_oldest_of_its_tenant(bus, letters, monkeypatch):
    monkeypatch.setattr(dead, "BODIES", 2)
    async with bus.serving(refusing()) as [worker]:
        for n in range(3):
            await bus.submit("app", "work", f"{n}" * 20_000, tenant="acme")
            await letters(n + 1)
        first, second, third = await letters(3)
        with pytest.raises(NotFound, match=f"dead letter {first.seq} had to make room for newer ones"):
            await dead.replay(bus.bus, first)
        await dead.discard(bus.bus, first)  # leaves the blob to the letter that has it now
        await dead.replay(bus.bus, second)
        await dead.replay(bus.bus, third)
    assert worker.counters.failed == 0


async def test_a_letter_is_stored_without_its_payload_when_there_is_no_room_for_blobs(bus, letters):
    config = (await bus.bus.js.stream_info("OBJ_BLOBS")).config
    await bus.bus.js.update_stream(replace(config, max_bytes=1024))
    async with bus.serving(refusing()):
        await bus.submit("app", "work", "x" * 20_000, tenant="acme")
        [letter] = await letters(1)
        assert letter.cut == 20_002
        assert letter.payload == b'"' + b"x" * 2047
        with pytest.raises(NotFound, match="only the beginning"):
            await dead.replay(bus.bus, letter)
        await dead.discard(bus.bus, letter)
