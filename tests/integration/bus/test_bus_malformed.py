"""No message breaks whoever reads it: malformed subjects and headers are buried like any other bad input."""

from __future__ import annotations

import pytest

from headway.bus import Service, StoreError
from headway.bus.client import dead
from headway.bus.worker.attempts import AttemptsLog

HEADERS = [
    b"NATS/1.0\r\nStatus: 503\r\n\r\n",
    b"NATS/1.0\r\nStatus: 204\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 404 \xff\xff\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: abc\r\nNats-Subject: no\r\n\r\n",
    b"NATS/1.0\r\n\xff: x\r\nA: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\nfoo",
    b"NATS/1.0",
    b"garbage\r\n\r\n",
    b"x",
]
OPERATIONS = [b"a\xffb", b"a\x0bb", b"a\x0cb", b"\x00", b"a\x1bb", b"BAD_1", b"x" * 3000]


async def raw(bus, subject: bytes, payload: bytes, head: bytes = b"", reply: bytes = b"") -> None:
    """Publish as a client does that checks nothing."""
    async with await bus.bus.again() as hostile:
        line = b"HPUB %b %b %d %d\r\n" % (subject, reply, len(head), len(head + payload))
        if not head:
            line = b"PUB %b %b %d\r\n" % (subject, reply, len(payload))
        await hostile.nc._send_command(line + head + payload + b"\r\n")
        await hostile.nc._flush_pending()
        await hostile.nc.flush()


def counting(done: list[object]) -> Service:
    app = Service("app")

    @app.job("work")
    async def work(request: int) -> None:
        done.append(request)

    @app.rpc("say")
    async def say(request: int) -> int:
        return request

    return app


@pytest.mark.parametrize("head", HEADERS)
async def test_a_worker_goes_on_after_a_message_with_any_header_block(bus, until, head):
    done: list[object] = []
    async with bus.serving(counting(done)):
        await raw(bus, b"job.app.acme.work", b"1", head)
        await raw(bus, b"rpc.app.acme.say", b"1", head, b"_INBOX.x")
        await bus.submit("app", "work", 2)
        await until(lambda: sorted(done) == [1, 2])
        assert await bus.call("app", "say", 3) == 3


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_job_of_any_subject_is_buried_and_the_worker_goes_on(bus, letters, until, operation):
    done: list[object] = []
    async with bus.serving(counting(done)):
        await raw(bus, b"job.app.acme." + operation, b"1")
        await raw(bus, b"rpc.app.acme.say", b"1", reply=b"_INBOX." + operation)
        await bus.submit("app", "work", 2)
        await until(lambda: done == [2])
        [letter] = await letters(1)
        assert await bus.call("app", "say", 3) == 3
        await dead.discard(bus.bus, letter)
        assert (await bus.bus.js.stream_info("JOBS_app")).state.messages == 0


@pytest.mark.parametrize("head", HEADERS)
async def test_a_letter_with_any_header_block_hides_no_other_letter(bus, head):
    await raw(bus, b"dead.app.acme.first", b"p", head)
    await bus.bus.nc.request("dead.app.acme.second", b"good", headers={"Headway-Dead-Cause": "error"})
    found = [letter async for letter in dead.list_(bus.bus.js)]
    assert [(letter.operation, letter.payload) for letter in found] == [("first", b"p"), ("second", b"good")]
    for letter in found:
        assert (await dead.show(bus.bus.js, letter.seq)).operation == letter.operation
        await dead.discard(bus.bus, letter)
    assert [letter async for letter in dead.list_(bus.bus.js)] == []


async def test_an_object_that_no_page_can_name_hides_no_other_object(bus):
    await bus.tenant("acme").objects.put("call", "one", 1)
    await raw(bus, b"obj.acme.call.b\xffd", b"2")
    await raw(bus, b"obj.acme.call.two$", b"2", b"NATS/1.0\r\nStatus: 503\r\n\r\n")
    found = await bus.tenant("acme").objects.list("call", int)
    assert [(one.id, one.value) for one in found] == [("one", 1)]


async def test_a_record_of_attempts_of_another_kind_makes_its_message_wait_and_no_other(bus, until):
    done: list[object] = []
    async with bus.serving(counting(done)):
        for value in (b"[]", b'{"failures": "many"}', b'{"failures": true}', b"\xff"):
            await bus.bus.js.publish(f"$KV.ATTEMPTS.app.{bus.bus.seal or 'unsealed'}.JOBS_app.99", value)
            with pytest.raises(StoreError, match="cannot be parsed"):
                await AttemptsLog(bus.bus.js, "app", bus.bus.seal).load("JOBS_app", 99)
        await bus.submit("app", "work", 1)
        await until(lambda: done == [1])
