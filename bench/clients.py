"""The clients bench: what a separate account costs clients.

The same publisher sends calls and jobs, once in the role worker, whose users are in the application account (as
clients once were), and once in the role client. The bench measures rates with many requests in flight, and the
server's CPU time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

from bench import goals
from bench.message import SERVICE, VERSION, Order, order
from bench.numbers import medians
from bench.report import Report
from headway.broker import testing
from headway.bus.client.bus import Bus
from headway.bus.nats import streams
from headway.bus.service import Service
from headway.bus.worker import queues
from headway.bus.worker.worker import Worker

CALLS: Final = ("calls, one account", "calls, own account")
JOBS: Final = ("jobs, one account", "jobs, own account")
_KEPT: Final = "kept"
"""The service whose jobs are stored but not processed."""
_TENANT: Final = "acme"
_TICKS: Final = os.sysconf("SC_CLK_TCK")

Operation = Callable[[int], Awaitable[object]]


async def measure(messages: int, inflight: int, rounds: int) -> Report:
    """Run the bench.

    Args:
        messages: calls and jobs per turn.
        inflight: how many are in flight.
        rounds: turns of each contender.
    """
    rates: dict[str, list[float]] = {name: [] for name in (*CALLS, *JOBS)}
    costs: dict[str, list[float]] = {name: [] for name in (*CALLS, *JOBS)}
    async with (
        testing.broker() as broker,
        await broker.connect("operator") as operator,
        await broker.connect("worker", service=SERVICE) as serving,
        await broker.connect("worker", service="load") as inside,
        await broker.connect("client", tenant=_TENANT) as outside,
        Worker(_answering(), serving, version=VERSION),
    ):
        assert broker.server is not None
        assert broker.server.pid is not None
        await queues.declare(operator.js, _keeping(), VERSION)
        await broker.set_routes({SERVICE: {VERSION: 100}, _KEPT: {VERSION: 100}})
        operations = dict(zip(CALLS, (_calling(inside), _calling(outside)), strict=True))
        operations |= dict(zip(JOBS, (_submitting(inside), _submitting(outside)), strict=True))
        for operation in operations.values():
            await _many(operation, min(messages, 200), inflight)  # warm up
        for _ in range(rounds):
            for name, operation in operations.items():
                began, used = time.perf_counter(), _cpu(broker.server.pid)
                await _many(operation, messages, inflight)
                rates[name].append(messages / (time.perf_counter() - began))
                costs[name].append((_cpu(broker.server.pid) - used) / messages * 1e6)
                await operator.js.purge_stream(streams.jobs_stream(_KEPT))
    return Report(
        bench="clients",
        title=f"{messages} calls and jobs of a client, {inflight} in flight, {rounds} rounds",
        unit="/s",
        values=medians(rates),
        rounds=rates,
        ratios={},
        details={name: {"server_cpu_us": median(found)} for name, found in costs.items()},
        verdicts=goals.judge((), {}),
        below="\n".join(_compared(*pair, rates, costs) for pair in (CALLS, JOBS)),
    )


def _compared(one: str, own: str, rates: Mapping[str, list[float]], costs: Mapping[str, list[float]]) -> str:
    share = median(mine / theirs for mine, theirs in zip(rates[own], rates[one], strict=True))
    return f"{own}: {share:.0%} of the rate; the server takes {median(costs[own]):.1f} us, not {median(costs[one]):.1f}"


def _answering() -> Service:
    service = Service(SERVICE, max_inflight=1024)

    @service.rpc("echo")
    async def echo(request: Order) -> Order:
        return request

    return service


def _keeping() -> Service:
    service = Service(_KEPT)

    @service.job("send")
    async def send(_request: Order) -> None:
        """Declare the queue."""

    return service


def _calling(bus: Bus) -> Operation:
    async def call(number: int) -> object:
        return await bus.call(SERVICE, "echo", _order(number), tenant=_TENANT, returns=Order, timeout=30)

    return call


def _submitting(bus: Bus) -> Operation:
    async def submit(number: int) -> object:
        return await bus.submit(_KEPT, "send", _order(number), tenant=_TENANT, timeout=30)

    return submit


def _order(number: int) -> Order:
    return Order.model_validate_json(order(number))


async def _many(operation: Operation, count: int, inflight: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            await operation(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(inflight):
            group.create_task(work())


def _cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
