"""`headway demo`: everything at once, on free ports, in a directory that is gone afterwards."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from headway.bus.tasks import end
from headway.commands.base import INTERRUPTED, examples, run
from headway.config import Config, ServerConfig, ServiceConfig
from headway.control.records import Lag, Scale
from headway.demo import screen, work
from headway.demo.burst import Burst, Result
from headway.demo.check import check
from headway.demo.drive import Drive
from headway.demo.release import Release
from headway.demo.tally import Tally
from headway.demo.watch import Watch
from headway.installation import Installation
from headway.loglines import readable

_TICK: Final = 0.1
_LINE: Final[dict[str, Any]] = {"speed": 200, "busy_share": 0.06, "no_answer_share": 0.02, "seed": 338}
"""The faxes' lines: about every twelfth dial fails, and with this seed no number of the demo does three times in a row,
after which its fax would wait longer than one likes to watch."""
_FAXES: Final = Scale(min=1, max=6, down_after=4, lag=Lag(drain_within=10))


@click.command(
    epilog=examples(
        "headway demo",
        "headway demo --json | tail -n 1",
    )
)
@click.option("--faxes", type=click.IntRange(2), default=40, show_default=True, help="Faxes of each tenant.")
@click.option("--calls", type=click.IntRange(2), default=40, show_default=True, help="Callers of each tenant.")
@click.option("--voicemails", type=click.IntRange(1), default=20, show_default=True, help="Voicemails of each tenant.")
@click.option(
    "--burst",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    help="Faxes that one tenant then submits at once; 0 leaves this out.",
)
@click.option(
    "--releases/--no-releases",
    default=True,
    show_default=True,
    help="Release a good version of fax, and then a bad one.",
)
@click.option(
    "--timeout",
    type=float,
    default=90.0,
    show_default=True,
    help="Seconds that each act may take until what is missing counts as lost.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object on the last line.")
@click.option("--verbose", "-v", is_flag=True, help="Show the workers' logs.")
def demo(
    *, faxes: int, calls: int, voicemails: int, burst: int, releases: bool, timeout: float, as_json: bool, verbose: bool
) -> int:
    """Run the three reference services with real work of four tenants, and sum up what became of it.

    Callers are routed and hang up, faxes meet busy lines and are tried again, one of each tenant has a number that
    cannot be dialled, one worker is killed in the middle. Then one tenant submits thousands of faxes: workers
    grow and shrink again, and the others' calls go on. Then fax v2 is released step by step, and a v3 in which
    30% of the dials fail is taken back by itself. Exits with 1 if anything was lost.
    """
    jobs = [*work.faxes(faxes), *work.recordings(voicemails)]
    show = _Demo(jobs, work.callers(calls), timeout, burst=burst, releases=releases, as_json=as_json, verbose=verbose)
    return run(_until_interrupted(show))


async def _until_interrupted(demo: _Demo) -> int:
    task = asyncio.ensure_future(demo.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        click.echo("stopped; no process is left", err=True)
        return INTERRUPTED


class _Demo:
    """One run of the demo."""

    def __init__(
        self,
        jobs: list[work.Job],
        callers: list[work.Caller],
        timeout: float,
        *,
        burst: int,
        releases: bool,
        as_json: bool,
        verbose: bool,
    ) -> None:
        self._jobs = jobs
        self._callers = callers
        self._burst = burst
        self._releases = releases
        self._timeout = timeout
        self._as_json = as_json
        self._verbose = verbose
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._tally = Tally()

    async def run(self) -> int:
        """Start everything, send the work, check it, sum up; the exit code."""
        with tempfile.TemporaryDirectory(prefix="headway-demo-") as directory:
            self._console.print("starting nats-server, the scaler, and workers of calls, fax and voicemail ...")
            async with Installation.start(_config(directory), say=self._say, grace=10) as running:
                began = time.monotonic()
                await self._everyday(running)
                acts: dict[str, Any] = {}
                if self._burst:
                    acts["burst"] = (await self._flood(running)).summary()
                if self._releases:
                    acts["release"] = (await self._release(running)).summary()
                self._tally.seconds = time.monotonic() - began
                await check(running.bus, self._tally, self._jobs, self._callers)
        summary = {**self._tally.summary(), **acts}
        if self._as_json:
            click.echo(orjson.dumps(summary))
        else:
            _show(summary)
        return 0 if self._tally.well else 1

    async def _everyday(self, running: Installation) -> None:
        """The first act: work of all tenants, a worker killed in the middle of it."""
        self._console.print(f"sending work of {len(work.TENANTS)} tenants to {running.broker.url}")
        drive = Drive(running, self._tally, self._jobs, self._callers)
        progress = asyncio.ensure_future(self._progress(drive))
        try:
            await drive.run(self._timeout)
        finally:
            await end([progress])

    async def _flood(self, running: Installation) -> Result:
        """The second act: a burst of faxes."""
        async with Watch(running.bus).watching() as watch:
            burst = Burst(running, watch, self._burst)
            async with screen.shown(
                self._console,
                lambda: screen.services(watch, burst.stage, burst.recent),
                lambda: screen.services_line(watch, burst.stage, burst.recent),
            ):
                await burst.run(self._timeout)
        self._tally.wrong += burst.result.wrong()
        return burst.result

    async def _release(self, running: Installation) -> Release:
        """The third act: a good release, and a bad one."""
        release = Release(running, _LINE)
        async with screen.shown(self._console, release.picture, release.line):
            await release.run(self._timeout)
        self._tally.wrong += release.wrong()
        return release

    def _say(self, label: str, line: str) -> None:
        text = readable(line)
        if self._verbose or " died " in text:
            self._console.print(f"{label:<14} {text}", markup=False)

    async def _progress(self, drive: Drive) -> None:
        """Live bars on a terminal, a line a second elsewhere."""
        if not self._console.is_terminal:
            await screen.plain(
                self._console,
                lambda: f"jobs {drive.jobs_over}/{len(self._jobs)}  calls {drive.calls_over}/{len(self._callers)}",
            )
        columns = TextColumn("{task.description:<18}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=self._console) as bars:
            jobs = bars.add_task("faxes, voicemails", total=len(self._jobs))
            calls = bars.add_task("calls", total=len(self._callers))
            try:
                while True:
                    await asyncio.sleep(_TICK)
                    bars.update(jobs, completed=drive.jobs_over)
                    bars.update(calls, completed=drive.calls_over)
            finally:
                bars.update(jobs, completed=drive.jobs_over)
                bars.update(calls, completed=drive.calls_over)


def _config(directory: str) -> Config:
    return Config(
        services={
            "calls": ServiceConfig(app="headway.services.calls:calls"),
            "fax": ServiceConfig(app="headway.services.fax:fax", scale=_FAXES, config=_LINE),
            "voicemail": ServiceConfig(app="headway.services.voicemail:voicemail"),
        },
        server=ServerConfig(port=0, websocket_port=0, store=str(Path(directory) / ".headway")),
    )


def _show(summary: dict[str, Any]) -> None:
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("service")
    for heading in ("sent", "done", "dead letters", "lost", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    keys = ("sent", "done", "dead_lettered", "lost", "p50_ms", "p95_ms", "p99_ms")
    for name, numbers in summary["services"].items():
        table.add_row(name, *("-" if numbers[key] is None else f"{numbers[key]:,}" for key in keys))
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    console.print(
        f"sent {summary['sent']}, done {summary['done']}, retried {summary['retried']}, "
        f"dead-lettered {summary['dead_lettered']}, lost {summary['lost']} "
        f"in {summary['seconds']} s"
    )
    console.print(
        f"{summary['killed_workers']} worker was killed on the way. Jobs' latencies run from submission to effect,\n"
        "the modelled telephone line and the killed worker's faxes included."
    )
    if "burst" in summary:
        _show_burst(console, summary["burst"])
    if "release" in summary:
        _show_release(console, summary["release"])
    for problem in summary["wrong"]:
        console.print(f"wrong: {problem}", markup=False)


def _show_burst(console: Console, burst: dict[str, Any]) -> None:
    before, peak, after = burst["workers"]
    console.print()
    console.print(
        f"{burst['faxes']:,} faxes of one tenant at once: sent in {burst['seconds']:.0f} s by up to {peak} workers; "
        f"{before} before, {after} after.\n"
        f"p95 of the others' calls: {burst['calls_p95_ms_before']} ms before, "
        f"{burst['calls_p95_ms_during']} ms meanwhile.\n"
        "What the scaler decided, and why:"
    )
    for reason in burst["reasons"]:
        console.print(Padding(Text(reason), (0, 0, 0, 2)), soft_wrap=False)


def _show_release(console: Console, found: dict[str, Any]) -> None:
    console.print()
    console.print(f"{found['faxes']:,} faxes were submitted during two releases of fax, {found['lost']} were lost.")
    for one in found["releases"]:
        taken = f", {one['took_over']} queued faxes taken over" if one["took_over"] else ""
        console.print(f"{one['version']}: {one['phase']} after {one['seconds']:.0f} s{taken}")
        for step in one["transitions"]:
            console.print(Padding(Text(step), (0, 0, 0, 2)), soft_wrap=False)
