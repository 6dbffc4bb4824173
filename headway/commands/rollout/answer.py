"""What the rollout commands share: the record, the version that an image makes, and the answer to the user."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from headway.control.records import RolloutRecord, VersionRecord
from headway.control.store import Control, rollout_key
from headway.deployer.errors import NoRollout
from headway.deployer.rollout.plan import HELD
from headway.deployer.version import version_of
from headway.place import pool_of

POLL: Final = 0.25
_TOOK_NOTICE: Final = 2.0
"""Seconds in which a running deployer must have started."""


async def answer(control: Control, record: RolloutRecord, *, wait: bool = False, as_json: bool) -> int:
    """Print the result of a request once a deployer has seen it, or with `wait` once the rollout has ended.

    Returns:
        the exit code.
    """
    loop = asyncio.get_running_loop()
    began, seen = loop.time(), record
    while True:
        found = await read(control, record.service)
        if found.number != record.number:
            break
        seen = found
        if seen.over or (wait and held(seen)) or (not wait and (seen != record or loop.time() - began > _TOOK_NOTICE)):
            break
        await asyncio.sleep(POLL)
    if as_json:
        click.echo(seen.model_dump_json())
    elif seen == record and not seen.over:
        click.echo(
            "no deployer has started on it yet: is `headway deployer` running? (`headway up` runs one)", err=True
        )
    else:
        click.echo(f"{seen.phase}: {seen.note or (seen.history[-1].reason if seen.history else '')}")
    return int(wait and seen.phase not in {"done", "rolled-back" if record.abort else "done"})


def held(record: RolloutRecord) -> bool:
    """Return whether a rollout waits for a person because its traffic is too thin to prove anything."""
    return record.phase == "judge" and record.note.startswith(HELD)


async def read(control: Control, service: str) -> RolloutRecord:
    """Return the record of a service's last rollout.

    Raises:
        NoRollout: if there was none.
    """
    kept = await control.get(rollout_key(service), RolloutRecord)
    if kept is None:
        raise NoRollout(f"{service} was never rolled out")
    return kept.value


def from_image(control: Control, directory: Path, service: str, version: str) -> VersionRecord:
    """Return the version that an image makes, in the pool of the service's other versions. Raises as `version_of`."""
    others = [one for (of, _), one in control.versions.items() if of == service]
    known = max(others, key=lambda one: one.weight, default=None)
    if known is None:
        return version_of(directory, service, version, pool=pool_of(directory))
    return version_of(directory, service, version, pool=known.pool, grace=known.grace, priority=known.priority)
