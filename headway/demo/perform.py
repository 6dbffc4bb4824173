"""The demo from start to finish: its own installation, three acts, and the check of the results."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from headway.bus.tasks import end
from headway.config import Config, ServerConfig, ServiceConfig
from headway.control.records import Lag, Scale
from headway.demo import screen, work
from headway.demo.act import act
from headway.demo.burst import Burst
from headway.demo.check import check
from headway.demo.drive import Drive
from headway.demo.progress import DemoProgress
from headway.demo.release import Releases
from headway.demo.tally import DemoTally
from headway.demo.watch import DemoWatch
from headway.demo.work import Caller, Job
from headway.installation import Installation
from headway.loglines import readable

_LINE: Final[dict[str, Any]] = {"speed": 200, "busy_share": 0.02, "no_answer_share": 0.01, "seed": 1, "paper": "roll"}
"""Settings of `fax`: 3% of the dials fail, and its pages are quick to render. With this seed no number of the demo
fails three times in a row, which would make its fax wait too long.
"""
_FAXES: Final = Scale(min=1, max=6, down_after=2, lag=Lag(drain_within=10))
_GRACE: Final = 10.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Settings of a demo.

    Attributes:
        jobs, callers: the work of the first act.
        burst: faxes that one tenant submits in the second; 0 leaves it out.
        releases: whether there is a third, with a good release and a bad one.
        timeout: time limit of each act in seconds; what is unfinished by then is reported, and counts as lost.
        verbose: show the workers' logs.
    """

    jobs: tuple[Job, ...]
    callers: tuple[Caller, ...]
    burst: int
    releases: bool
    timeout: float
    verbose: bool = False


async def perform(plan: DemoPlan) -> tuple[DemoTally, dict[str, Any]]:
    """Run a demo; its live picture goes to standard error.

    Returns:
        the summary as one object of plain JSON types.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    tally, progress = DemoTally(), DemoProgress()

    def say(label: str, line: str) -> None:
        text = readable(line)
        if plan.verbose:
            console.print(f"{label:<14} {text}", markup=False)
        elif " died " in text:
            progress.say(text.removeprefix("warning: "), who=label[:8])

    with tempfile.TemporaryDirectory(prefix="headway-demo-") as directory:
        console.print(f"{progress.act} ...")
        async with Installation.start(_config(directory), say=say, grace=_GRACE) as running:
            async with DemoWatch(running.bus).watching() as watch, screen.shown(console, progress, watch):
                acts = await _acts(plan, running, watch, tally, progress)
            tally.seconds = progress.seconds
    return tally, {**tally.summary(), **acts}


async def _acts(
    plan: DemoPlan, running: Installation, watch: DemoWatch, tally: DemoTally, progress: DemoProgress
) -> dict[str, Any]:
    """Run the acts one after another; return what each adds to the summary, by its name."""
    told: dict[str, Any] = {}
    release = Releases(running, progress, _LINE)
    building = asyncio.ensure_future(release.build() if plan.releases else asyncio.sleep(0))
    try:
        progress.act = f"everyday work of {len(work.TENANTS)} tenants; one worker is killed"
        async with act("the everyday work", plan.timeout, tally.wrong):
            await Drive(running, tally, plan.jobs, plan.callers, progress).run()
        await building
        burst = Burst(running, watch, progress, plan.burst)
        if plan.burst:
            async with act("the burst", plan.timeout, tally.wrong):
                await burst.run()
        if plan.releases:
            async with act("the act of two releases", plan.timeout, tally.wrong):
                await release.run()
            tally.wrong += release.wrong()
        if plan.burst:
            async with act("the end of the burst's workers", plan.timeout, tally.wrong):
                await burst.shrunk()
            tally.wrong += burst.result.wrong()
            told["burst"] = burst.result.summary()
        if plan.releases:
            told["release"] = release.summary()
        progress.act = "reading back the results"
        async with act("reading back the results", plan.timeout, tally.wrong):
            await check(running.bus, tally, plan.jobs, plan.callers)
    finally:
        await end([building])
    progress.act = "done"
    return told


def _config(directory: str) -> Config:
    return Config(
        services={
            "calls": ServiceConfig(app="headway.services.calls:calls"),
            "fax": ServiceConfig(app="headway.services.fax:fax", scale=_FAXES, config=_LINE),
            "voicemail": ServiceConfig(app="headway.services.voicemail:voicemail", priority="high"),
        },
        server=ServerConfig(port=0, websocket_port=0, store=str(Path(directory) / ".headway")),
    )
