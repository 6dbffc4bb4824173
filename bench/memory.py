"""The memory bench: what an idle worker process costs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

from bench import goals
from bench.report import Report
from bench.server import server
from bench.worker import worker
from headway.broker import queues
from headway.bus import connect
from headway.bus.nats import streams

_MEGABYTE = 1e6


async def measure(rounds: int, settle_s: float) -> Report:
    """Run the bench.

    Args:
        rounds: workers that are started and measured, one after another.
        settle_s: seconds each one idles before it is measured.
    """
    found: list[float] = []
    unique: list[float] = []
    async with server() as url, await connect(url) as bus, queues.served(bus):
        await streams.provision(bus.js)
        for _ in range(rounds):
            async with worker(bus.nc, url, 0) as pid:
                await asyncio.sleep(settle_s)
                found.append(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") * 1024 / _MEGABYTE)
                unique.append(_kilobytes(Path(f"/proc/{pid}/status"), "RssAnon") * 1024 / _MEGABYTE)
    return Report(
        bench="memory",
        title=f"an idle worker process with 16 lanes and heartbeats, {rounds} starts",
        unit="MB",
        values={goals.MEMORY: median(found)},
        rounds={goals.MEMORY: found},
        ratios={goals.MEMORY: median(found) / goals.LEAN[0].bound},
        details={"of_that_not_shared_files_mb": median(unique)},
        verdicts=goals.judge(goals.LEAN, {goals.MEMORY: median(found)}),
    )


def _kilobytes(status: Path, field: str) -> int:
    """One field of /proc/<pid>/status."""
    for line in status.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise ValueError(f"{status} has no {field}")
