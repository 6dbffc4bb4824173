"""Attempts and dead letters that find no room: nothing runs more often than allowed, and it is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nats.js.api import DiscardPolicy

from headway import Reject, Retry, Service


async def limit(bus, stream: str, bytes_: int) -> None:
    config = (await bus.bus.js.stream_info(stream)).config
    # As a server does whose disk is full: it refuses, also where old messages would make room.
    await bus.bus.js.update_stream(replace(config, max_bytes=bytes_, discard=DiscardPolicy.NEW))


def failing(runs: list[int], attempts: int) -> Service:
    app = Service("app", ack_wait=1)

    @app.job("fail", retry=Retry(attempts=attempts, backoff=(0.1,), jitter=0))
    async def fail(request: int) -> None:
        runs.append(request)
        raise ValueError("no")

    @app.job("refuse")
    async def refuse(request: int) -> None:
        runs.append(request)
        raise Reject("no")

    return app


async def test_with_a_full_bucket_of_attempts_a_job_has_its_attempts_and_no_more(bus, letters, caplog, until):
    runs: list[int] = []
    await limit(bus, "KV_ATTEMPTS", 1)
    async with bus.serving(failing(runs, 2)) as [worker]:
        await asyncio.gather(*(bus.submit("app", "fail", n) for n in range(21)))
        found = await letters(21)
        await asyncio.sleep(1.5)
        assert worker.beat().unstored >= 21
    assert sorted(runs) == sorted([*range(21), *range(21)])
    assert {(letter.cause, letter.attempts) for letter in found} == {("error", 2)}
    [alarm] = [record for record in caplog.records if "attempts cannot be recorded" in record.getMessage()][:1]
    assert "maximum bytes exceeded" in alarm.getMessage()


async def test_with_no_room_for_dead_letters_nothing_is_run_again_and_the_letters_come_when_there_is(
    bus, letters, monkeypatch, caplog
):
    monkeypatch.setattr("headway.bus.worker.settle.STORE_RETRY", 0.5)
    runs: list[int] = []
    before = (await bus.bus.js.stream_info("DEAD")).config.max_bytes
    await limit(bus, "DEAD", 1)
    async with bus.serving(failing(runs, 1)):
        await bus.submit("app", "fail", 1)
        await bus.submit("app", "refuse", 2)
        await asyncio.sleep(2.5)
        assert sorted(runs) == [1, 2]
        assert (await bus.bus.js.stream_info("JOBS_app")).state.messages == 2
        await limit(bus, "DEAD", before)
        found = await letters(2)
    assert sorted(runs) == [1, 2]
    assert {(letter.cause, letter.attempts) for letter in found} == {("error", 1), ("rejected", 1)}
    assert {letter.reason for letter in found} == {"ValueError: no", "no"}
    assert any("its dead letter cannot be stored" in record.getMessage() for record in caplog.records)


async def test_with_both_full_the_job_stays_in_hand_and_is_not_run_again(bus, letters, monkeypatch):
    monkeypatch.setattr("headway.bus.worker.settle.STORE_RETRY", 0.5)
    runs: list[int] = []
    before = (await bus.bus.js.stream_info("DEAD")).config.max_bytes
    await limit(bus, "DEAD", 1)
    await limit(bus, "KV_ATTEMPTS", 1)
    async with bus.serving(failing(runs, 2)):
        await bus.submit("app", "fail", 1)
        await asyncio.sleep(3)
        assert runs == [1, 1]
        await limit(bus, "DEAD", before)
        [letter] = await letters(1)
    assert runs == [1, 1]
    assert (letter.cause, letter.attempts) == ("error", 2)


async def test_a_message_that_was_delivered_before_waits_until_its_attempts_can_be_recorded(
    bus, spawn, monkeypatch, until, letters
):
    monkeypatch.setattr("headway.bus.worker.settle.STORE_RETRY", 0.3)
    runs: list[int] = []
    before = (await bus.bus.js.stream_info("KV_ATTEMPTS")).config.max_bytes
    crashes = """
import os
from headway import Service
app = Service("app", ack_wait=1)

@app.job("fail")
async def fail(request: int) -> None:
    os._exit(9)
"""
    worker = await spawn(bus.broker, crashes)
    await bus.broker.set_routes({"app": {"v1": 100}})
    await bus.submit("app", "fail", 1)
    assert await worker.ended() == 9
    await limit(bus, "KV_ATTEMPTS", 1)
    async with bus.serving(failing(runs, 1)):
        await asyncio.sleep(2.5)
        assert runs == []
        await limit(bus, "KV_ATTEMPTS", before)
        await until(lambda: runs == [1])
        await letters(1)
