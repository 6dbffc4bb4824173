"""Kills one thing after another under load, and measures what callers and submitters notice.

First on one machine with everything that `headway up` runs, then on a cluster of three servers with three copies of
each stream. Each victim gets SIGKILL: no warning, no draining. At the end every job that was acknowledged must have
been done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import goals
from bench.outage.load import SERVICE, Load, Seen, gap
from bench.report import Report
from headway.broker import testing
from headway.broker.server import Server
from headway.bus.client.connection import connect
from headway.bus.tasks import end
from headway.config import Config, ServerConfig, ServiceConfig, WebConfig
from headway.installation import Installation

WORKERS: Final = 2
_PATIENCE: Final = 60.0
_SAMPLE: Final = 0.02
_AWAY: Final = 5.0
"""Seconds for which a server of the cluster stays down."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One thing to kill.

    Attributes:
        name: for the report.
        strike: kills it.
        back: whether it has recovered.
    """

    name: str
    strike: Callable[[], Awaitable[None] | None]
    back: Callable[[], bool]


async def measure(rounds: int, settle: float, *, cluster: bool) -> Report:
    """Run the bench.

    Args:
        rounds: how many times each thing is killed.
        settle: seconds of load after each outage.
        cluster: also run on three servers.
    """
    found: dict[str, list[dict[str, float]]] = {}
    lost = twice = accepted = 0
    errors: Counter[str] = Counter()
    for place in (_one_machine, _three_servers) if cluster else (_one_machine,):
        with tempfile.TemporaryDirectory(prefix="headway-bench-") as directory:
            log = Path(directory, "log")
            async with place(Path(directory), log) as (load, outages):
                async with load.flowing():
                    await asyncio.sleep(settle)
                    for _ in range(rounds):
                        for outage in outages:
                            found.setdefault(outage.name, []).append(await _one(load, outage, settle, errors))
                done = await _until_done(load, log)
            accepted += len(load.accepted)
            lost += len(set(load.accepted) - set(done))
            twice += sum(done.values()) - len(done)
    worst = {name: max(one["gap_s"] for one in each) for name, each in found.items()}
    rows = {name: {key: max(one[key] for one in each) for key in each[0]} for name, each in found.items()}
    values = {**worst, goals.LOST_JOBS: float(lost)}
    return Report(
        bench="outage",
        title=f"SIGKILL under load, {rounds} rounds: longest time without any call answered",
        unit="s",
        values=values,
        rounds={name: [one["gap_s"] for one in each] for name, each in found.items()},
        ratios={},
        details={**rows, "jobs_accepted": accepted, "jobs_done_twice": twice, "errors_of_calls": dict(errors)},
        verdicts=goals.judge(goals.OUTAGE, values),
        below="\n".join(f"{name}: {_words(row)}" for name, row in rows.items())
        + f"\n{accepted:,} jobs accepted, {lost} lost, {twice} done twice; errors of calls: {dict(errors)}",
    )


def _words(row: dict[str, float]) -> str:
    return (
        f"no call answered for {row['gap_s']:.2f} s, {row['failed_calls']:.0f} calls failed, "
        f"no job acknowledged for {row['ack_gap_s']:.2f} s, back after {row['back_s']:.2f} s"
    )


async def _one(load: Load, outage: Outage, settle: float, errors: Counter[str]) -> dict[str, float]:
    load.seen = seen = Seen()
    began = time.monotonic()
    struck = outage.strike()
    if struck is not None:
        await struck
    await _until(outage.back, outage.name)
    back = time.monotonic() - began
    calls, acks = len(seen.calls) + 100, len(seen.acks) + 50
    await _until(lambda: len(seen.calls) >= calls and len(seen.acks) >= acks, f"traffic after {outage.name}")
    await asyncio.sleep(settle)
    if seen.refused:
        raise RuntimeError(f"{seen.refused} jobs were refused for good while {outage.name} was away")
    errors.update(seen.failed)
    return {
        "gap_s": gap(seen.calls, began),
        "failed_calls": float(sum(seen.failed.values())),
        "ack_gap_s": gap(seen.acks, began),
        "back_s": back,
    }


async def _until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110  # processes set no event
                await asyncio.sleep(_SAMPLE)
    except TimeoutError:
        raise RuntimeError(f"{what}: not back after {_PATIENCE:g} s") from None


async def _until_done(load: Load, log: Path) -> Counter[str]:
    """Count how often each job was done, once all accepted jobs are done or progress has stopped."""
    done: Counter[str] = Counter()
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        done = Counter(log.read_text().split())  # noqa: ASYNC240
        if set(load.accepted) <= set(done):
            break
        await asyncio.sleep(0.2)
    return done


@asynccontextmanager
async def _one_machine(directory: Path, log: Path) -> AsyncIterator[tuple[Load, list[Outage]]]:
    """Run an installation as `headway up` does; yield it and its parts."""
    server = ServerConfig(port=0, websocket_port=0, store=str(directory / "data"))
    config = Config(services=_service(log), server=server, web=WebConfig(port=0, dev_issuer=True))
    async with Installation.start(config, say=_silent) as running:
        nats = running.broker.server
        assert nats is not None
        keeping = asyncio.ensure_future(_keep(nats))
        parts = {name: _pid_of(running, name) for name in ("scaler", "deployer", "web")}
        outages = [
            _outage("a worker", lambda: [running.workers()[0].pid], lambda: _pids(running)),
            _outage("a worker and the zygote", lambda: _family(running), lambda: _pids(running)),
            *(_outage(name, pids, pids, 1) for name, pids in parts.items()),
            _outage("the server, alone", lambda: [nats.pid], lambda: [nats.pid], 1),
        ]
        try:
            yield Load(running.bus), outages
        finally:
            await end([keeping])


@asynccontextmanager
async def _three_servers(_directory: Path, log: Path) -> AsyncIterator[tuple[Load, list[Outage]]]:
    """Start three servers with three copies of each stream; workers and scaler as `headway up` runs them there."""
    async with testing.cluster() as cluster:
        home = cluster.broker.data_dir
        assert home is not None
        config = Config(services=_service(log), server=ServerConfig(store=str(home), replicas=3))
        async with (
            Installation.start(config, say=_silent, external=cluster.broker) as running,
            await connect(cluster.broker.url, creds=cluster.broker.identities.creds("operator")) as bus,
        ):
            yield Load(bus), _of_cluster(running, cluster.servers)


def _of_cluster(running: Installation, servers: Sequence[Server]) -> list[Outage]:
    first, *_ = servers

    async def without(pids: list[int | None]) -> None:
        for pid in pids:
            _kill(pid)
        await asyncio.sleep(_AWAY)  # the others keep running without it
        await first.restart()

    async def cut() -> None:
        for server in servers:
            _kill(server.pid)
        for server in servers:
            await server.wait(poll=_SAMPLE)
        await asyncio.gather(*(server.restart() for server in servers))

    def back() -> bool:
        return all(server.running for server in servers) and len(running.workers()) == WORKERS

    return [
        Outage("one server of three", lambda: without([first.pid]), back),
        Outage("one server of three and a worker", lambda: without([first.pid, running.workers()[0].pid]), back),
        Outage("all three servers", cut, back),
    ]


def _outage(
    name: str, victims: Callable[[], list[int | None]], there: Callable[[], list[int | None]], wanted: int = WORKERS
) -> Outage:
    """Kill processes; they are back when as many others have replaced them."""
    killed: set[int | None] = {None}

    def strike() -> None:
        killed.update(victims())
        for pid in killed - {None}:
            _kill(pid)

    return Outage(name, strike, lambda: len(set(there()) - killed) >= wanted)


def _pid_of(running: Installation, name: str) -> Callable[[], list[int | None]]:
    return lambda: [running.controllers[name].pid]


def _pids(running: Installation) -> list[int | None]:
    return [one.pid for one in running.workers()]


def _family(running: Installation) -> list[int | None]:
    """Return a worker and the process that it was forked from."""
    pid = running.workers()[0].pid
    return [pid, int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])]


def _service(log: Path) -> dict[str, ServiceConfig]:
    log.touch()
    app = "bench.outage.service:outage"
    return {SERVICE: ServiceConfig(app=app, workers=WORKERS, config={"log": str(log)})}


async def _keep(server: Server) -> None:
    """Restart a server that died, as `headway up` does."""
    while True:
        await server.wait()
        await server.restart()


def _kill(pid: int | None) -> None:
    if pid is None:
        raise RuntimeError("the process to kill is not running")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _silent(label: str, line: str) -> Any:
    if "Traceback" in line:
        print(f"{label}: {line}", file=sys.stderr)
