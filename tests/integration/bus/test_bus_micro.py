"""The NATS micro protocol (ADR-32), asked by hand and by the real `nats` CLI."""

from __future__ import annotations

import asyncio
import json

import orjson
import pytest

from headway import Reject, Service


def service() -> Service:
    app = Service("app", description="Doubles numbers.")

    @app.rpc("double")
    async def double(request: int) -> int:
        """Twice the number."""
        if request < 0:
            raise Reject("it is negative")
        return 2 * request

    @app.job("work")
    async def work(request: int) -> None: ...

    return app


async def ask(bus, subject: str, workers: int) -> list[dict]:
    """What all workers answer."""
    inbox = bus.bus.nc.new_inbox()
    subscription = await bus.bus.nc.subscribe(inbox)
    await bus.bus.nc.publish(subject, b"", reply=inbox)
    answers = [orjson.loads((await subscription.next_msg(timeout=10)).data) for _ in range(workers)]
    await bus.bus.nc.flush()
    assert subscription.pending_msgs == 0, "more answers than workers"
    return answers


@pytest.mark.parametrize("subject", ["$SRV.PING", "$SRV.PING.app"])
async def test_every_worker_answers_a_ping(bus, subject):
    async with bus.serving(service(), version="v3", workers=2) as workers:
        answers = await ask(bus, subject, 2)
    assert {answer["id"] for answer in answers} == {worker.name for worker in workers}
    for answer in answers:
        del answer["id"]
        assert answer == {
            "type": "io.nats.micro.v1.ping_response",
            "name": "app",
            "version": "3.0.0",
            "metadata": {"headway.version": "v3", "headway.validates": "true"},
        }


async def test_one_worker_is_asked_by_its_id(bus):
    async with bus.serving(service(), workers=2) as [one, other]:
        [answer] = await ask(bus, f"$SRV.PING.app.{other.name}", 1)
        assert answer["id"] == other.name != one.name


async def test_info_tells_the_endpoints_with_their_descriptions(bus):
    async with bus.serving(service()):
        [answer] = await ask(bus, "$SRV.INFO.app", 1)
    assert (answer["type"], answer["description"]) == ("io.nats.micro.v1.info_response", "Doubles numbers.")
    assert answer["endpoints"] == [
        {
            "name": "double",
            "subject": "rpc.app.v1.*.double",
            "queue_group": "app-v1",
            "metadata": {"description": "Twice the number."},
        }
    ]


async def test_stats_count_requests_errors_and_time(bus):
    async with bus.serving(service()):
        for n in (1, 2, -1):
            await bus.bus.nc.request("rpc.app.acme.double", b"%d" % n, timeout=5)
        [answer] = await ask(bus, "$SRV.STATS.app", 1)
    assert answer["type"] == "io.nats.micro.v1.stats_response"
    assert answer["started"].endswith("Z")
    [endpoint] = answer["endpoints"]
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (3, 1)
    assert endpoint["last_error"] == "422:it is negative"
    assert endpoint["processing_time"] > 0
    assert endpoint["average_processing_time"] == endpoint["processing_time"] // 3


async def test_a_worker_that_has_left_does_not_answer(bus):
    async with bus.serving(service()) as [stays]:
        async with bus.serving(service()):
            await ask(bus, "$SRV.PING.app", 2)
        [answer] = await ask(bus, "$SRV.PING.app", 1)
        assert answer["id"] == stays.name


async def test_the_nats_cli_lists_workers_and_shows_their_info_and_statistics(bus, nats_cli):
    async with bus.serving(service(), workers=2) as workers:
        assert (await nats_cli(bus.broker, "req", "rpc.app.acme.double", "21", "--raw")).strip() == "42"
        listed = json.loads(await nats_cli(bus.broker, "micro", "ls", "--json"))
        assert {entry["id"] for entry in listed} == {worker.name for worker in workers}
        info = await nats_cli(bus.broker, "micro", "info", "app", workers[0].name)
        assert "Doubles numbers." in info
        assert "rpc.app.v1.*.double" in info
        stats = json.loads(await nats_cli(bus.broker, "micro", "stats", "app", "--json"))
        assert sum(entry["endpoints"][0]["num_requests"] for entry in stats) == 1


async def test_the_nats_cli_submits_jobs_and_shows_the_queue(bus, nats_cli, until):
    app, finish, running = Service("app"), asyncio.Event(), asyncio.Event()

    @app.job("work")
    async def work(request: int) -> None:
        running.set()
        await finish.wait()

    async with bus.serving(app) as [worker]:
        receipt = json.loads(await nats_cli(bus.broker, "req", "job.app.acme.work", "7", "--raw"))
        assert (receipt["stream"], receipt["seq"]) == ("JOBS_app", 1)
        await asyncio.wait_for(running.wait(), 10)
        assert "JOBS_app" in await nats_cli(bus.broker, "stream", "ls", "--names")
        state = json.loads(await nats_cli(bus.broker, "stream", "info", "JOBS_app", "--json"))["state"]
        assert (state["messages"], state["consumer_count"]) == (1, 16)
        await nats_cli(bus.broker, "pub", "job.app.acme.work", "8")
        finish.set()
        await until(lambda: worker.counters.processed == 2)


async def test_a_worker_tells_the_schemas_of_all_its_handlers(bus):
    async with bus.serving(service(), version="v3"):
        [answer] = await ask(bus, "$SRV.SCHEMA.app", 1)
    assert answer["metadata"]["headway.version"] == "v3"
    assert answer["schemas"] == {
        "rpc.double": {"input": {"type": "integer"}, "output": {"type": "integer"}},
        "job.work": {"input": {"type": "integer"}, "output": {"type": "null"}},
    }
