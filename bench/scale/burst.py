"""A burst of jobs on a real installation: from one worker to as many as needed, and back to one."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.scale.service import CONCURRENCY
from headway.bus.client.bus import Bus
from headway.bus.nats.streams import jobs_stream
from headway.bus.tasks import end
from headway.config import Config, ServerConfig, ServiceConfig
from headway.control.records import Lag, Scale
from headway.control.store import Control
from headway.installation import Installation

SERVICE: Final = "bench-scale"
SECONDS: Final = 0.2
"""Duration of a job in seconds; a worker finishes 20 of them a second."""
WITHIN: Final = 10.0
"""Seconds in which a backlog should be drained; a job that takes longer is a miss."""
_MAXIMUM: Final = 12
_PATIENCE: Final = 120.0
_SAMPLE: Final = 0.02
_AT_ONCE: Final = 128


@dataclass(frozen=True, slots=True)
class Burst:
    """The result of a burst, in seconds from the first submission.

    Attributes:
        first_worker_s: until a newly started worker began its first job.
        decided_s: from the decision to start it until then.
        drained_s: until the queue was empty.
        shrunk_s: until one worker was left.
        slo_misses: jobs that took longer than `WITHIN`.
        worker_seconds: of all workers, until the queue was empty.
        peak: most workers at once.
        twice: jobs that were done more than once.
    """

    first_worker_s: float
    decided_s: float
    drained_s: float
    shrunk_s: float
    slo_misses: int
    worker_seconds: float
    peak: int
    twice: int


async def burst(jobs: int) -> Burst:
    """Run one burst.

    Args:
        jobs: submitted at once.

    Raises:
        RuntimeError: if it does not finish in time.
    """
    with tempfile.TemporaryDirectory(prefix="headway-bench-") as directory:
        log = Path(directory, "log")
        service = ServiceConfig(
            app="bench.scale.service:worker",
            scale=Scale(min=1, max=_MAXIMUM, down_after=3, lag=Lag(drain_within=WITHIN)),
            config={"log": str(log)},
        )
        server = ServerConfig(port=0, websocket_port=None, store=str(Path(directory, "data")))
        async with Installation.start(Config(services={SERVICE: service}, server=server), say=_silent) as running:
            return await _burst(running, log, jobs)


def _silent(label: str, line: str) -> None:
    if "error" in line or "Traceback" in line:
        print(f"{label}: {line}", file=sys.stderr)


async def _burst(running: Installation, log: Path, jobs: int) -> Burst:
    there = {one.worker for one in running.workers()}
    count = _Count(running)
    counting = asyncio.ensure_future(count.run())
    try:
        async with asyncio.timeout(_PATIENCE):
            began = time.time()
            await _submit(running.bus, jobs)
            await _empty(running.bus)
            drained = time.time() - began
            worker_seconds, peak = count.seconds, count.peak
            while len(running.workers()) > 1:  # noqa: ASYNC110  # processes set no event
                await asyncio.sleep(_SAMPLE)
            shrunk = time.time() - began
    except TimeoutError:
        raise RuntimeError(f"the burst was not over after {_PATIENCE:g} s") from None
    finally:
        await end([counting])
    lines = [line.split() for line in log.read_text().splitlines()]  # noqa: ASYNC240
    done = [(worker, float(sent), float(start), float(end)) for worker, sent, start, end in lines]
    started = min(start for worker, _, start, _ in done if worker not in there)
    control = Control(running.bus)
    await control.refresh()
    grown = (d.at for record in control.scales.values() for d in record.history if d.desired > d.before)
    return Burst(
        first_worker_s=started - began,
        decided_s=started - min(at for at in grown if at > began),
        drained_s=drained,
        shrunk_s=shrunk,
        slo_misses=sum(end - sent > WITHIN for _, sent, _, end in done),
        worker_seconds=worker_seconds,
        peak=peak,
        twice=len(done) - jobs,
    )


async def _submit(bus: Bus, jobs: int) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(n: int) -> None:
        async with turn:
            await bus.submit(SERVICE, "work", {"sent": time.time(), "seconds": SECONDS}, tenant=f"tenant-{n % 40}")

    async with asyncio.TaskGroup() as group:
        for n in range(jobs):
            group.create_task(one(n))


async def _empty(bus: Bus) -> None:
    while (await bus.js.stream_info(jobs_stream(SERVICE))).state.messages:  # noqa: ASYNC110  # the server has to be polled
        await asyncio.sleep(_SAMPLE)


class _Count:
    """Counts workers over time."""

    def __init__(self, running: Installation) -> None:
        self._running = running
        self.seconds = 0.0
        self.peak = 0

    async def run(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(_SAMPLE)
            now, workers = time.monotonic(), len(self._running.workers())
            self.seconds += workers * (now - last)
            self.peak = max(self.peak, workers)
            last = now


def least_worker_seconds(jobs: int) -> float:
    """Return the time that the jobs take on workers that are never idle: the minimum for any schedule."""
    return jobs * SECONDS / CONCURRENCY
