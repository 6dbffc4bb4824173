"""Who runs a service stands in a record; its owner renews it."""

from __future__ import annotations

import asyncio

import pytest

from headway import ownership
from headway.bus import tasks
from headway.control.store import Control
from headway.ownership import OwnerRecord, Ownership, owner_key


@pytest.fixture
async def bus(nats_broker):
    async with await nats_broker.connect("operator") as connection:
        yield connection


async def test_a_renewal_whose_acknowledgement_was_lost_does_not_give_the_service_away(
    bus, tmp_path, until, monkeypatch
):
    monkeypatch.setattr(ownership, "_RENEW", 0.05)
    mine = Ownership(bus, tmp_path, "pool")
    await mine.claim(["fax"])
    control, key = Control(bus), owner_key("fax")
    found = await control.get(key, OwnerRecord)
    assert found is not None
    # Stored, and never acknowledged: the owner knows an older revision than its record has.
    unknown = await control.put(key, found.value, expect=found.revision)
    keeping = asyncio.create_task(mine.keep())

    async def renewed() -> bool:
        now = await control.get(key, OwnerRecord)
        return now is not None and now.revision > unknown

    try:
        await until(renewed)
        assert mine.services == {"fax"}
    finally:
        await tasks.end([keeping])
