"""Control records: compare-and-set, and a mirror that reads only what changed."""

from __future__ import annotations

import pytest

from headway.bus.errors import Conflict, MissingStream, NotFound, StoreError
from headway.control.records import Scale, ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key, service_key, version_key

FAX = ServiceRecord(service="fax", scale=Scale(max=4))
V1 = VersionRecord(service="fax", version="v1", app="headway.services.fax:fax", root=".")


@pytest.fixture
async def bus(nats_broker):
    async with await nats_broker.connect("control") as connection:
        yield connection


async def test_a_record_is_read_as_it_was_written(bus):
    control = Control(bus)
    assert await control.get(service_key("fax"), ServiceRecord) is None
    revision = await control.put(service_key("fax"), FAX, expect=0)
    found = await control.get(service_key("fax"), ServiceRecord)
    assert found is not None
    assert (found.value, found.revision) == (FAX, revision)


async def test_who_has_an_old_revision_is_refused(bus):
    control = Control(bus)
    first = await control.put(service_key("fax"), FAX, expect=0)
    await control.put(service_key("fax"), FAX, expect=first)
    with pytest.raises(Conflict):
        await control.put(service_key("fax"), FAX, expect=first)
    with pytest.raises(Conflict):
        await control.put(service_key("fax"), FAX, expect=0)


async def test_a_change_is_made_on_what_others_wrote_meanwhile(bus):
    control, other = Control(bus), Control(bus)
    key = version_key("fax", "v1")
    await control.put(key, V1)
    seen = []

    def alter(record: VersionRecord) -> VersionRecord:
        seen.append(record.weight)
        return record.model_copy(update={"minimum": record.minimum + 1})

    async def interfere(get=control.get):
        await other.change(key, VersionRecord, lambda r: r.model_copy(update={"weight": 50}))
        control.get = get

    original = control.get

    async def get_then_interfere(*args):
        found = await original(*args)
        await interfere(original)
        return found

    control.get = get_then_interfere
    changed = await control.change(key, VersionRecord, alter)
    assert seen == [0, 50]
    assert (changed.weight, changed.minimum) == (50, 1)


async def test_what_is_not_there_cannot_be_changed(bus):
    with pytest.raises(NotFound, match=r"no control record service\.fax"):
        await Control(bus).change(service_key("fax"), ServiceRecord, lambda record: record)


async def test_the_mirror_follows_changes_and_deletions(bus):
    control, mirror = Control(bus), Control(bus)
    await control.put(service_key("fax"), FAX)
    await control.put(version_key("fax", "v1"), V1)
    await control.put(scale_key("fax", "v1"), ScaleRecord(service="fax", version="v1", desired=3))
    await mirror.refresh()
    assert mirror.services == {"fax": FAX}
    assert mirror.versions == {("fax", "v1"): V1}
    assert mirror.scales["fax", "v1"].desired == 3
    await control.delete(version_key("fax", "v1"))
    await control.put(service_key("calls"), ServiceRecord(service="calls", calls=True))
    await mirror.refresh()
    assert mirror.versions == {}
    assert set(mirror.services) == {"fax", "calls"}


async def test_the_mirror_reads_more_than_a_page(bus):
    control, mirror = Control(bus), Control(bus)
    names = [f"s-{n}" for n in range(700)]
    for name in names:
        await bus.publish(f"$KV.CONTROL.{service_key(name)}", ServiceRecord(service=name).model_dump_json().encode())
    await control.put(service_key("last"), FAX)
    await mirror.refresh()
    assert set(mirror.services) == {*names, "last"}


async def test_a_record_that_cannot_be_read_leaves_the_former_one_in_force(bus, caplog):
    control = Control(bus)
    await control.put(service_key("fax"), FAX)
    await control.refresh()
    await bus.js.publish("$KV.CONTROL.service.fax", b'{"service": "fax", "of a newer version": true}')
    await control.refresh()
    assert control.services == {"fax": FAX}
    assert "the former one stays in force" in caplog.text
    with pytest.raises(StoreError, match=r"control record service\.fax cannot be read"):
        await control.get(service_key("fax"), ServiceRecord)


async def test_without_the_bucket_it_says_what_is_missing(bus):
    await bus.js.delete_stream("KV_CONTROL")
    control = Control(bus)
    with pytest.raises(MissingStream, match="KV_CONTROL"):
        await control.refresh()
    with pytest.raises(MissingStream, match="KV_CONTROL"):
        await control.put(service_key("fax"), FAX)
