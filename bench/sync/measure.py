"""The sync bench: a thousand websockets of one tenant at a hundred changes a second; then at full speed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from bench import goals
from bench.numbers import OURS, medians, ratios
from bench.process import Child, child
from bench.report import Report
from bench.sync import page
from bench.sync.change import TENANT, TYPE, fax
from bench.sync.clients import BIN
from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.errors import NotStored

RATE: Final = 100
"""Changes a second while latency is measured."""
_PROCESSES: Final = 2
_SUBJECT: Final = f"live.{TENANT}.>"
_CONNECTING: Final = 120.0
_PATIENCE: Final = 60.0
_AT_ONCE: Final = 64
_WARM_UP: Final = 50
_WEIGHED: Final = 200
_SOME: Final = 100
"""Number of objects that the changes belong to."""


async def measure(clients: int, seconds: float, burst: int, rounds: int, objects: int) -> Report:
    """Run the bench.

    Args:
        clients: websockets, all of one tenant.
        seconds: duration of the latency measurement.
        burst: changes of one turn of the fan-out; the peer sends a tenth of it.
        rounds: turns of each.
        objects: that the page has.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="headway-bench-"))
        broker = await stack.enter_async_context(Broker.start(Path(directory), port=0))
        bus = await stack.enter_async_context(await broker.connect("operator"))
        own = _own(broker)

        async with AsyncExitStack() as ours:
            mine = await _clients(ours, clients, own)
            await _burst(bus, mine, clients, _WARM_UP)
            waits = await _paced(bus, mine, clients, seconds)
            async with AsyncExitStack() as theirs:
                peer = await theirs.enter_async_context(child("bench.sync.starlette_fanout"))
                url = await peer.ask("url", _PATIENCE)
                plain = await _clients(theirs, clients, {"url": url, "jwt": None, "subject": ""})
                fanned: dict[str, list[float]] = {OURS: [], goals.STARLETTE: []}
                for _ in range(rounds):
                    fanned[OURS].append(await _burst(bus, mine, clients, burst))
                    fanned[goals.STARLETTE].append(await _peer(peer, plain, clients, max(1, burst // 10)))
        shown = await page.measure(broker, bus, objects, 2 * rounds + 1)
    weights = {
        "bytes_per_change": await _weight(compression=False),
        "bytes_per_change_compressed": await _weight(compression=True),
    }

    p50, p99 = _quantile(waits, 0.5), _quantile(waits, 0.99)
    values = {**medians(fanned), goals.SYNC_P99: p99}
    beside = ratios(fanned)
    headline: dict[str, Any] = {"p50_ms": p50, "p99_ms": p99, "catch_up_ratio": None, "first_paint_ms": None}
    details: dict[str, Any] = {
        "clients": clients,
        "changes_per_s": RATE,
        "deliveries_while_measured": sum(waits.values()),
        **weights,
    }
    if shown is not None:
        headline["catch_up_ratio"] = values[goals.CATCH_UP] = shown.catch_up_bytes / shown.reload_bytes
        paints = {OURS: shown.paints_ms, goals.PLAIN_PAINT: shown.plain_ms}
        headline["first_paint_ms"] = values[goals.FIRST_PAINT] = medians(paints)[OURS]
        values[goals.PLAIN_PAINT] = medians(paints)[goals.PLAIN_PAINT]
        beside |= ratios(paints)
        details |= {
            "objects": objects,
            "reload_bytes": shown.reload_bytes,
            "reload_ms": shown.reload_ms,
            "catch_up_bytes": shown.catch_up_bytes,
            "catch_up_ms": shown.catch_up_ms,
            "paints_ms": [round(ms, 1) for ms in shown.paints_ms],
            "plain_paints_ms": [round(ms, 1) for ms in shown.plain_ms],
        }
    return Report(
        bench="sync",
        title=f"{clients} websockets of a tenant: {RATE} changes/s for {seconds:g} s, then {rounds} bursts of {burst}",
        unit="deliveries/s, or as named",
        values=values,
        rounds=fanned,
        ratios=beside,
        headline=headline,
        details=details,
        verdicts=goals.judge(goals.SYNC, {**values, **beside}),
        below=_below(p50, details),
    )


async def _clients(stack: AsyncExitStack, count: int, how: dict[str, Any]) -> list[Child]:
    """Connect the clients, spread over processes."""
    starting = (stack.enter_async_context(child("bench.sync.clients")) for _ in range(_PROCESSES))
    found = await asyncio.gather(*starting)
    shares = [count // _PROCESSES + (n < count % _PROCESSES) for n in range(_PROCESSES)]
    async with asyncio.TaskGroup() as group:
        for one, share in zip(found, shares, strict=True):
            group.create_task(one.ask({"do": "connect", "count": share, **how}, _CONNECTING))
    return found


async def _paced(bus: Bus, clients: Sequence[Child], count: int, seconds: float) -> Counter[int]:
    """Write changes at the rate; return how long each delivery took, as a histogram."""
    changes = int(seconds * RATE)
    waiting = _expect(clients, changes, seconds + _PATIENCE)
    begin = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number in range(changes):
            await asyncio.sleep(begin + number / RATE - asyncio.get_running_loop().time())
            group.create_task(_put(bus, number))
    found = await waiting
    _complete(found, changes * count)
    return sum((Counter(dict(one["bins"])) for one in found), Counter())


async def _burst(bus: Bus, clients: Sequence[Child], count: int, changes: int) -> float:
    """Write changes as quickly as they are accepted; return deliveries per second."""
    waiting = _expect(clients, changes, _PATIENCE)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def put(number: int) -> None:
        async with turn:
            await _put(bus, number)

    began = time.perf_counter_ns()
    async with asyncio.TaskGroup() as group:
        for number in range(changes):
            group.create_task(put(number))
    return _rate(await waiting, began, changes * count)


async def _peer(peer: Child, clients: Sequence[Child], count: int, changes: int) -> float:
    waiting = _expect(clients, changes, _PATIENCE)
    sent = await peer.ask({"changes": changes}, _PATIENCE)
    if sent["clients"] != count:
        raise RuntimeError(f"the peer has {sent['clients']} of {count} clients")
    return _rate(await waiting, sent["began"], changes * count)


async def _weight(*, compression: bool) -> float:
    """Return the bytes on the wire for one change, websocket and protocol included, with or without compression."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headway-bench-")))
        broker = await stack.enter_async_context(Broker.start(directory, port=0, compression=compression))
        bus = await stack.enter_async_context(await broker.connect("operator"))
        one = await stack.enter_async_context(child("bench.sync.clients"))
        await one.ask({"do": "connect", "count": 1, "deflate": compression, **_own(broker)}, _CONNECTING)
        weighing = asyncio.ensure_future(one.ask({"do": "weigh", "timeout": _PATIENCE}, 2 * _PATIENCE))
        await asyncio.sleep(0.2)
        for number in range(_WEIGHED):
            await _put(bus, number)
        (weight,) = await weighing
    return round(float(weight) / _WEIGHED, 1)


def _own(broker: Broker) -> dict[str, Any]:
    """How a websocket client connects to the server."""
    jwt = broker.identities.mint("browser", tenant=TENANT, person="bench").jwt
    return {"url": broker.ws_url, "jwt": jwt, "subject": _SUBJECT}


async def _put(bus: Bus, number: int) -> None:
    value = fax(number % _SOME)
    # On a machine that is too slow the acknowledgement comes too late; the number of arrivals is checked anyway.
    with contextlib.suppress(NotStored):
        await bus.tenant(TENANT).objects.put(TYPE, value["fax"], value)


def _expect(clients: Sequence[Child], changes: int, timeout: float) -> asyncio.Future[list[Any]]:
    order = {"do": "expect", "changes": changes, "timeout": timeout}
    return asyncio.gather(*(one.ask(dict(order), timeout + _PATIENCE) for one in clients))


def _rate(found: Sequence[Any], began: int, deliveries: int) -> float:
    _complete(found, deliveries)
    last: int = max(one["last"] for one in found)
    return deliveries / ((last - began) / 1e9)


def _complete(found: Sequence[Any], deliveries: int) -> None:
    arrived = sum(one["changes"] for one in found)
    if arrived != deliveries:
        raise RuntimeError(f"{arrived} of {deliveries} changes arrived")


def _quantile(bins: Counter[int], q: float) -> float:
    """Return a quantile of a histogram, in milliseconds."""
    rank = q * sum(bins.values())
    seen = 0
    for tenth, count in sorted(bins.items()):
        seen += count
        if seen >= rank:
            return (tenth + 1) * BIN / 1e6
    raise RuntimeError("nothing was measured")


def _below(p50: float, details: dict[str, Any]) -> str:
    plain, compressed = details["bytes_per_change"], details["bytes_per_change_compressed"]
    of_sockets = f"change to memory: p50 {p50:.1f} ms; {plain:.0f} bytes per change, compressed {compressed:.0f}"
    if "objects" not in details:
        return f"{of_sockets}\nno Chromium, or the browser side is not built: the page was not measured"
    loaded = f"{details['objects']:,} objects: {details['reload_bytes']:,} bytes, {details['reload_ms']:.0f} ms"
    caught = f"50 changes: {details['catch_up_bytes']:,} bytes, {details['catch_up_ms']:.0f} ms"
    return f"{of_sockets}\n{loaded}; {caught}"
