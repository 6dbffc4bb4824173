"""What the commands on periodic jobs share."""

from __future__ import annotations

import time
from pathlib import Path

import click

from headway.acting import audited
from headway.bus.client.bus import Bus
from headway.bus.errors import NotFound
from headway.commands import options
from headway.commands.base import examples, run
from headway.control.records import ScheduleRecord
from headway.control.store import Control, schedule_key
from headway.endpoint import ServerAccess, require


async def existing(bus: Bus, service: str, job: str) -> ScheduleRecord:
    """Return the record of a service that has a periodic job.

    Raises:
        InvalidSubject: if the service's name breaks the grammar.
        NotFound: if there is no such job.
    """
    found = await Control(bus).get(schedule_key(service), ScheduleRecord)
    if found is None or job not in found.value.jobs:
        raise NotFound(f"service {service} has no periodic job {job}", remedy="see `headway schedules ls`")
    return found.value


async def pause(bus: Bus, service: str, job: str, *, paused: bool) -> None:
    """Pause or resume a periodic job. A resumed job runs next at its next time: nothing is made up for.

    Raises:
        NotFound: if there is no such job.
        Conflict: if other writers keep interfering.
    """
    await existing(bus, service, job)

    def alter(record: ScheduleRecord) -> ScheduleRecord:
        state = record.jobs.get(job)
        if state is None or state.paused == paused:
            return record
        fresh = state.model_copy(update={"paused": paused, "last": state.last if paused else time.time()})
        return record.model_copy(update={"jobs": {**record.jobs, job: fresh}})

    await Control(bus).change(schedule_key(service), ScheduleRecord, alter)


def switch(name: str, summary: str, done: str, *, paused: bool) -> click.Command:
    """Return the command that pauses or resumes a periodic job.

    Args:
        name: its name.
        summary: its help.
        done: what it prints after the job's name.
        paused: whether the job is paused by it.
    """

    @click.command(name, help=summary, epilog=examples(f"headway schedules {name} fax nightly-report"))
    @click.argument("service")
    @click.argument("job")
    @options.server
    def command(*, service: str, job: str, url: str | None, creds: str | None, directory: Path) -> int:
        return run(_switch(require(url, creds, directory), service, job, done, paused=paused))

    return command


async def _switch(endpoint: ServerAccess, service: str, job: str, done: str, *, paused: bool) -> None:
    async with await endpoint.connect("schedules") as bus, audited(bus):
        await pause(bus, service, job, paused=paused)
    click.echo(f"{service} {job} {done}")
