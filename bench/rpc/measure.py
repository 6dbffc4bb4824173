"""The rpc bench: all contenders serve side by side, and the same load calls each in turn; many short rounds."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from bench import goals
from bench.numbers import OURS, medians, ratios
from bench.process import Child, child
from bench.report import Report
from bench.rpc.servers import CONTENDERS, OPERATIONS
from bench.server import server

_PATIENCE = 20.0
_WARM_UP = 0.2


async def measure(seconds: float, rounds: int, inflight: int, *, bare_peers: bool = False) -> Report:
    """Run the bench.

    Args:
        seconds: how long each contender is called in each round.
        rounds: turns of each contender.
        inflight: requests in flight at any time.
        bare_peers: send the deadline header to Headway only, instead of to every contender.
    """
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    p99: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    ends: list[float] = []
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(server())
        load = await stack.enter_async_context(child("bench.rpc.load", url))
        serving = {name: await stack.enter_async_context(child("bench.rpc.servers", name, url)) for name in CONTENDERS}

        async def turn(name: str, seconds: float) -> tuple[dict[str, Any], float]:
            before = await serving[name].ask("cpu", _PATIENCE)
            found = await _load(load, OPERATIONS[name], seconds, inflight, deadline=name == OURS or not bare_peers)
            return found, await serving[name].ask("cpu", _PATIENCE) - before

        for name in CONTENDERS:
            await turn(name, _WARM_UP)
        for _ in range(rounds):
            for name in CONTENDERS:
                found, used = await turn(name, seconds)
                rates[name].append(found["count"] / found["seconds"])
                p99[name].append(found["p99_s"] * 1e3)
                cpu[name].append(used / found["count"] * 1e6)
            found = await _load(load, None, seconds, inflight, deadline=True)
            ends.append(found["count"] / found["seconds"])
    return Report(
        bench="rpc",
        title=f"request and reply, {inflight} in flight, one serving process, {rounds} rounds of {seconds:g} s"
        + (", peers without deadline header" if bare_peers else ""),
        unit="calls/s",
        values=medians(rates),
        rounds=rates,
        ratios=ratios(rates),
        details={
            "cpu_us_per_call": medians(cpu),
            "p99_ms": medians(p99),
            "calls_per_s_with_bus_call_as_client": medians({OURS: ends})[OURS],
        },
        verdicts=goals.judge(goals.RPC, ratios(rates)),
    )


async def _load(load: Child, operation: str | None, seconds: float, inflight: int, *, deadline: bool) -> dict[str, Any]:
    asked = {"operation": operation, "seconds": seconds, "inflight": inflight, "deadline": deadline}
    found: dict[str, Any] = await load.ask(asked, seconds + _PATIENCE)
    return found
