"""`headway demo`: everything at once, on free ports, in a temporary directory."""

from __future__ import annotations

import asyncio
import signal

import click
import orjson

from headway import extras
from headway.bus.errors import HeadwayError
from headway.commands.base import INTERRUPTED, examples, run
from headway.config import load
from headway.demo import summary, work
from headway.demo.perform import DemoPlan, perform
from headway.endpoint import CONFIG_FILE


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
    default=1000,
    show_default=True,
    help="Faxes in the burst of one tenant; 0 skips the burst.",
)
@click.option(
    "--releases/--no-releases",
    default=True,
    show_default=True,
    help="Release a good version of fax, then a bad one.",
)
@click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="Time limit of an act in seconds. What is unfinished by then is reported and counts as lost.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object on the last line.")
@click.option("--verbose", "-v", is_flag=True, help="Show the workers' logs.")
def demo(
    *, faxes: int, calls: int, voicemails: int, burst: int, releases: bool, timeout: float, as_json: bool, verbose: bool
) -> int:
    """Run the three reference services with real work of four tenants, and summarize the results.

    Callers are routed and hang up, faxes meet busy lines and are retried, one fax per tenant has an invalid number,
    and one worker is killed. Then one tenant submits a burst of faxes: the number of workers grows and shrinks, and
    the others' calls continue. Then fax v2 is rolled out step by step, and a v3 in which 30% of the dials fail is
    rolled back automatically. Exits with 1 if anything was lost or a release ended wrongly.
    """
    extras.check("services")
    plan = DemoPlan(
        jobs=(*work.faxes(faxes), *work.recordings(voicemails)),
        callers=tuple(work.callers(calls)),
        burst=burst,
        releases=releases,
        timeout=timeout,
        verbose=verbose,
    )
    return run(_until_interrupted(plan, as_json=as_json))


async def _until_interrupted(plan: DemoPlan, *, as_json: bool) -> int:
    task = asyncio.ensure_future(perform(plan))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        tally, told = await task
    except asyncio.CancelledError:
        click.echo("stopped; no process is left running", err=True)
        return INTERRUPTED
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        summary.show(told, _look())
    return 0 if tally.well else 1


def _look() -> str:
    """Return where to look at the services next; with the address of their pages if there is a headway.yaml here."""
    try:
        web = load(CONFIG_FILE)[0].web
    except HeadwayError:
        web = None
    at = " that it names" if web is None else f" at http://{web.host}:{web.port}"
    return f"Try it: `headway up`, then its pages{at}, or what `headway console` prints."
