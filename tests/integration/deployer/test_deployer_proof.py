"""Proof before and after a shift, and checks, against a real server with real workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headway.bus.nats import streams
from headway.deployer import checks
from headway.deployer.checks import parse
from headway.deployer.errors import NotProven
from headway.deployer.rollout import proof
from tests.support.deployer_place import Behaviour


@asynccontextmanager
async def prometheus(answer: Callable[[], str]) -> AsyncIterator[str]:
    """An HTTP server that answers every query the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = answer().encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def vector(*found: float) -> str:
    values = ",".join(f'{{"metric":{{}},"value":[1,"{value}"]}}' for value in found)
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{values}]}}}}'


@pytest.mark.parametrize(
    ("answer", "ok", "said"),
    [
        (vector(0.01), True, "it is 0.01"),
        (vector(0.01, 0.2), False, "it is 0.2, not < 0.05"),
        (vector(), None, "has no value for it"),
        ('{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}', None, "not a number"),
        ('{"status":"error"}', None, "gave no answer"),
        ("busy", None, "gave no answer"),
    ],
)
async def test_a_query_is_kept_by_all_its_values_and_no_value_is_no_answer(nats_broker, answer, ok, said):
    async with prometheus(lambda: answer) as url, await nats_broker.connect("control") as bus:
        found = await checks.run(bus, "app", "v2", None, parse(f"query {url} errors < 0.05"))
    assert found.ok is ok
    assert said in found.said


async def test_a_call_asks_the_version_itself_whatever_the_routes_say(place):
    await place.declare("v1")
    async with await place.broker.connect("control") as bus:
        found = await checks.run(bus, "app", "v1", None, parse('call t.status {} -> {"version": "v1"}'))
        assert (found.ok, found.said) == (True, 'answered {"version":"v1"}')
        nobody = await checks.run(bus, "app", "v2", None, parse("call t.status {}"))
        assert not nobody.ok
        assert "nobody serves" in nobody.said


async def test_a_version_without_workers_or_with_gaps_cannot_have_traffic(place):
    await place.declare("v1")
    async with await place.broker.connect("control") as bus:

        async def prove(weights, *, breaking=False) -> None:
            await proof.interest(bus, place.broker, "app", weights, "v1", breaking=breaking)

        await prove({"v1": 100})
        with pytest.raises(NotProven, match="nobody takes calls or jobs of app v2"):
            await prove({"v1": 95, "v2": 5})
        for lane in range(1, 16):
            await streams.ensure_consumer(place.bus.js, "JOBS_app", streams.lane("app", "v3", lane, 5))
        with pytest.raises(NotProven, match=r"app v3 has no consumer on lanes \[0\]"):
            await prove({"v1": 95, "v3@eu": 100}, breaking=True)
        with pytest.raises(NotProven, match="app v3 does not serve status"):
            await prove({"v3": 100})


async def test_a_version_that_takes_no_jobs_does_not_follow_one_that_does(place):
    await place.declare("v1")
    place.behaviour["v2"] = Behaviour(jobs=False)
    await place.deployer()
    await place.deploy("v2")
    record = await place.reached("rolled-back")
    assert record.abort == "app v2 takes no jobs, v1 does"


async def test_probes_show_the_split_and_reach_no_worker(place):
    await place.declare("v1")
    await place.broker.change_route("app", {"v1": 70, "v2": 30})
    async with await place.broker.connect("control") as bus:
        await proof.split(bus, "app", {"v1": 70, "v2": 30})
        with pytest.raises(NotProven, match="whose weight is 5%"):
            await proof.split(bus, "app", {"v1": 5, "v2": 95})
        await place.broker.change_route("app", None)
        with pytest.raises(NotProven, match="200 of 200 probes of app arrived nowhere"):
            await proof.split(bus, "app", {"v1": 100})
    assert not place.began


async def test_a_shift_that_its_probes_do_not_confirm_is_undone(place, monkeypatch):
    await place.declare("v1")
    made = await place.deployer()
    real = proof.split

    async def wrong(bus, service, weights) -> None:
        await real(bus, service, {"v1": 100})  # as if the server did not do what it confirmed

    monkeypatch.setattr(proof, "split", wrong)
    await place.deploy("v2", steps=(50, 100))

    async def noted() -> bool:
        return "whose weight is 100%" in (await place.record()).note

    await place.until(noted)
    await place.until(lambda: place.route_is({"v1": 100}))
    monkeypatch.setattr(proof, "split", real)
    record = await place.reached("judge")
    assert record.step == 0
    assert made.lease.held
