"""Reads back the effects of the demo's work: objects, mailboxes, dead letters. Only what is found counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from headway.bus.client import dead
from headway.bus.client.bus import Bus, Tenant
from headway.demo import work
from headway.demo.tally import DemoTally
from headway.demo.work import Caller, Job

_SETTLE = 30.0
"""Seconds that the events of missed calls have to reach their mailboxes."""

_Value = dict[str, Any]


async def check(bus: Bus, tally: DemoTally, jobs: Sequence[Job], callers: Sequence[Caller]) -> None:
    """Count what is done and what is dead-lettered, and note what is not as it must be."""
    letters = await _letters(bus)
    for name in work.TENANTS:
        tenant = bus.tenant(name)
        faxes = {o.id: o.value for o in await tenant.objects.list("fax", as_=_Value)}
        voices = {o.id for o in await tenant.objects.list("voicemail", as_=_Value)}
        calls = {o.id: o.value for o in await tenant.objects.list("call", as_=_Value)}
        for job in (job for job in jobs if job.tenant == name):
            count = tally.counts[job.service]
            done = faxes.get(job.id, {}).get("state") == "sent" if job.service == "fax" else job.id in voices
            given_up = (name, job.id) in letters
            if done:
                count.done += 1
            elif given_up:
                count.dead_lettered += 1
            if given_up != job.hopeless:
                tally.wrong.append(f"{job.service} {job.id} of {name} is {'' if given_up else 'not '}a dead letter")
        for caller in (caller for caller in callers if caller.tenant == name):
            wanted = "missed" if caller.gives_up else "ended"
            state = calls.get(caller.id, {}).get("state", "unknown")
            if state == wanted:
                tally.counts["calls"].done += 1
            else:
                tally.wrong.append(f"call {caller.id} of {name} is {state}, not {wanted}")
        agents = [o.value for o in await tenant.objects.list("agent", as_=_Value)]
        tally.wrong += [f"agent {agent['agent']} of {name} is not free" for agent in agents if agent["call"]]
        await _missed_calls(tenant, tally, [c for c in callers if c.tenant == name and c.gives_up])


async def _missed_calls(tenant: Tenant, tally: DemoTally, missed: Sequence[Caller]) -> None:
    """Check that each missed call has made an entry in the mailbox of its skill."""
    total = 0
    try:
        async with asyncio.timeout(_SETTLE):
            while True:
                page = await tenant.call("voicemail", "list", {"mailbox": work.NOBODY, "limit": 100})
                total = page["total"]
                if total >= len(missed):
                    break
                await asyncio.sleep(0.05)
    except TimeoutError:
        tally.wrong.append(f"{tenant.tenant}: {total} of {len(missed)} missed calls are in the mailbox")


async def _letters(bus: Bus) -> set[tuple[str, str]]:
    found = set()
    async for letter in dead.list_(bus.js):
        try:
            request = orjson.loads(letter.payload)
        except orjson.JSONDecodeError:  # none of the demo's
            continue
        found.add((letter.tenant, request.get("fax") or request.get("message") or ""))
    return found
