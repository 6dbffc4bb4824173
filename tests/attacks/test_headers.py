"""Headers that tell JetStream to do more than store: purge, schedule, copy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts
from tests.attacks.place import TENANTS, Place

HEADERS: tuple[dict[str, str], ...] = (
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-Schedule": "@at 2009-11-10T23:00:00Z", "Nats-Schedule-Target": "obj.globex.call.planted"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "$KV.CONTROL.code.planted"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "job.voicemail.v1.0.globex.planted"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "dead.voicemail.globex.planted"},
    {"Nats-Schedule": "@at 2009-11-10T23:00:00Z", "Nats-Schedule-Target": "later.voicemail.globex.planted"},
    {"Nats-Scheduler": "later.fax.globex.send", "Nats-Schedule-Next": "purge"},
    {"Nats-Scheduler": "obj.globex.call.planted", "Nats-Schedule-Next": "purge"},
    {"Nats-Stream-Source": "OBJECTS 1 > > obj.globex.call.planted"},
    {"Nats-Marker-Reason": "Purge"},
    {"Nats-Incr": "+1"},
    {"Nats-TTL": "1s"},
    {"Nats-Batch-Id": "a", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
)
PLANTED = {
    *("obj.globex.call.planted", "$KV.CONTROL.code.planted", "dead.voicemail.globex.planted"),
    *("job.voicemail.v1.0.globex.planted", "later.voicemail.globex.planted"),
}


@pytest.mark.parametrize("subject", ["job.fax.acme.send", "later.fax.acme.send", "event.acme.fax.asked"])
async def test_a_header_of_a_client_purges_nothing_and_plants_nothing(
    place: Place, attack_as: Connecting, attempts: Attempts, subject: str
) -> None:
    for tenant in TENANTS:
        await place.bus.submit("fax", "send", "kept", tenant=tenant)
        await place.bus.submit("fax", "send", "kept", tenant=tenant, delay=3600)
    before = await counted(place)
    async with attack_as("client", tenant="acme") as attacker:
        for headers in HEADERS:
            await attacker.nc.publish(subject, b"{}", headers=headers)
            await attacker.settled()
            await place.bus.flush()
            after = await counted(place)
            gone = [name for name in before if after[name] < before[name]]
            planted = sorted(PLANTED & await place.subjects())
            attempts.judge(f"{headers} on {subject}: {gone} {planted}", refused=not gone and not planted)
            before = after


async def counted(place: Place) -> dict[str, Any]:
    return {info.config.name: info.state.messages for info in await place.bus.js.streams_info()}
