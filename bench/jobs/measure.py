"""The jobs bench: preload a work queue, let one contender drain it, then the next; several rounds."""

from __future__ import annotations

from contextlib import suppress

import nats
import nats.js.errors
from nats.aio.client import Client

from bench import goals
from bench.jobs.consumers import CONTENDERS, STREAM
from bench.message import SERVICE, order, tenant
from bench.numbers import medians, ratios
from bench.process import child
from bench.report import Report
from bench.server import server
from headway.bus.nats import streams

_TIMEOUT = 300.0
_FLUSH_EVERY = 1000


async def measure(messages: int, rounds: int) -> Report:
    """Run the bench.

    Args:
        messages: how many jobs each contender drains in each round.
        rounds: turns of each contender.
    """
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    async with server() as url:
        nc = await nats.connect(url)
        try:
            await streams.provision(nc.jetstream())
            for _ in range(rounds):
                for name in CONTENDERS:
                    async with child("bench.jobs.consumers", name, url) as consumer:
                        await _preload(nc, messages)
                        result = await consumer.ask({"count": messages}, _TIMEOUT)
                    rates[name].append(messages / result["seconds"])
                    cpu[name].append(result["cpu_s"] / messages * 1e6)
        finally:
            await nc.close()
    return Report(
        bench="jobs",
        title=f"{messages} preloaded jobs, drained and acknowledged by one process, {rounds} rounds",
        unit="jobs/s",
        values=medians(rates),
        rounds=rates,
        ratios=ratios(rates),
        details={"cpu_us_per_job": medians(cpu)},
        verdicts=goals.judge(goals.JOBS, ratios(rates)),
    )


async def _preload(nc: Client, messages: int) -> None:
    """Fill a fresh queue, with a Headway worker's settings, through the server's subject mapping."""
    js = nc.jetstream()
    with suppress(nats.js.errors.NotFoundError):
        await js.delete_stream(STREAM)
    await js.add_stream(streams.jobs(SERVICE, queue_bytes=1 << 30, queue_per_subject=250_000))
    for number in range(messages):
        await nc.publish(f"job.{SERVICE}.{tenant(number)}.send", order(number))
        if number % _FLUSH_EVERY == 0:
            await nc.flush()
    await nc.flush()
    while (stored := (await js.stream_info(STREAM)).state.messages) < messages:
        if nc.last_error is not None:
            raise RuntimeError(f"{stored} of {messages} jobs are stored: {nc.last_error}")
