"""Control records: compare-and-set, and a mirror that reads only what changed."""

from __future__ import annotations

import shutil

import pytest

from headway.broker.broker import Broker
from headway.broker.provision import create_streams
from headway.bus.errors import Conflict, ConnectionFailed, MissingStream, NotFound, StoreError, UsageError
from headway.control import store
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
        record = ServiceRecord(service=name).model_dump_json().encode()
        await bus.records.publish(f"$KV.CONTROL.{service_key(name)}", record)
    await control.put(service_key("last"), FAX)
    await mirror.refresh()
    assert set(mirror.services) == {*names, "last"}


async def test_a_record_that_cannot_be_read_leaves_the_former_one_in_force(bus, caplog):
    control = Control(bus)
    await control.put(service_key("fax"), FAX)
    await control.refresh()
    await bus.records.js.publish("$KV.CONTROL.service.fax", b'{"service": "fax", "of a newer version": true}')
    await control.refresh()
    assert control.services == {"fax": FAX}
    assert "the former one stays in force" in caplog.text
    with pytest.raises(StoreError, match=r"control record service\.fax cannot be read"):
        await control.get(service_key("fax"), ServiceRecord)


async def test_without_the_bucket_it_says_what_is_missing(bus):
    await bus.records.js.delete_stream("KV_CONTROL")
    control = Control(bus)
    with pytest.raises(MissingStream, match="KV_CONTROL"):
        await control.refresh()
    with pytest.raises(MissingStream, match="KV_CONTROL"):
        await control.put(service_key("fax"), FAX)


async def test_a_damaged_record_is_told_and_what_was_known_of_it_stays_in_force(bus):
    control, mirror, fresh = Control(bus), Control(bus), Control(bus)
    await control.put(version_key("fax", "v1"), V1)
    await mirror.refresh()
    await bus.records.js.publish("$KV.CONTROL.version.fax.v1", b"{")
    await mirror.refresh()
    await fresh.refresh()
    assert mirror.versions == {("fax", "v1"): V1}
    assert fresh.versions == {}
    for one in (mirror, fresh):
        assert list(one.unreadable) == ["version.fax.v1"]
    await control.put(version_key("fax", "v1"), V1)
    for one in (mirror, fresh):
        await one.refresh()
        assert one.unreadable == {}
        assert one.versions == {("fax", "v1"): V1}


async def test_a_record_that_only_a_newer_version_understands_is_unreadable_and_says_where(bus):
    await bus.records.js.publish("$KV.CONTROL.service.fax", b'{"service": "fax", "shards": 3}')
    mirror = Control(bus)
    await mirror.refresh()
    assert "shards" in mirror.unreadable["service.fax"]
    with pytest.raises(StoreError) as raised:
        await mirror.get(service_key("fax"), ServiceRecord)
    assert raised.value.remedy == "headway records mend service.fax"


@pytest.mark.parametrize("more", [0, 40], ids=["shorter", "longer than what was read before"])
async def test_a_stream_that_was_made_anew_is_read_anew(nats_broker, bus, monkeypatch, more):
    monkeypatch.setattr(store, "EPOCH_EVERY", 0.0)
    control, mirror = Control(bus), Control(bus)
    for number in range(20):
        await control.put(version_key("fax", f"v{number}"), V1.model_copy(update={"version": f"v{number}"}))
    await mirror.refresh()
    assert len(mirror.versions) == 20
    await bus.records.js.delete_stream("KV_CONTROL")
    with pytest.raises(MissingStream):
        await mirror.refresh()
    assert len(mirror.versions) == 20, "that nothing can be read says nothing"
    await create_streams(bus)
    await control.put(service_key("fax"), FAX)
    for _ in range(more):
        await control.put(version_key("fax", "v1"), V1)
    await mirror.refresh()
    assert mirror.services == {"fax": FAX}
    assert set(mirror.versions) == ({("fax", "v1")} if more else set())


async def test_an_older_copy_of_the_store_that_was_put_back_is_read_anew(tmp_path, until):
    async with Broker.start(tmp_path / "data", port=0) as broker:
        server, bus = broker.server, await broker.connect("control")
        try:
            control, mirror = Control(bus), Control(bus)
            await control.put(service_key("fax"), FAX)
            await server.stop()
            shutil.copytree(tmp_path / "data" / "nats" / "jetstream", tmp_path / "older")
            await server.start()
            await until(lambda: bus.records.nc.is_connected)
            for number in range(30):
                await control.put(version_key("fax", f"v{number}"), V1.model_copy(update={"version": f"v{number}"}))
            await control.delete(service_key("fax"))
            await mirror.refresh()
            assert (len(mirror.versions), mirror.services) == (30, {})
            await server.stop()
            shutil.rmtree(tmp_path / "data" / "nats" / "jetstream")
            shutil.copytree(tmp_path / "older", tmp_path / "data" / "nats" / "jetstream")
            await server.start()
            await until(lambda: bus.records.nc.is_connected)
            for _ in range(60):  # further than what was read before
                await control.put(version_key("fax", "v1"), V1)
            await mirror.refresh()
            assert mirror.services == {"fax": FAX}
            assert set(mirror.versions) == {("fax", "v1")}
        finally:
            await bus.close()


async def test_a_damaged_record_is_mended_from_the_copy_of_what_was_last_written(bus):
    control = Control(bus)
    await control.put(version_key("fax", "v1"), V1)
    await control.change(version_key("fax", "v1"), VersionRecord, lambda v: v.model_copy(update={"weight": 100}))
    await bus.records.js.publish("$KV.CONTROL.version.fax.v1", b"{")
    assert "copy" in await control.mend("version.fax.v1")
    await control.refresh()
    assert control.versions["fax", "v1"].weight == 100
    assert control.unreadable == {}
    with pytest.raises(UsageError, match="can be read"):
        await control.mend("version.fax.v1")


async def test_a_damaged_record_of_the_scaler_is_deleted_since_the_scaler_writes_it_anew(bus):
    control = Control(bus)
    await bus.records.js.publish("$KV.CONTROL.scale.fax.v1", b"\xff")
    assert "write it again" in await control.mend("scale.fax.v1")
    await control.refresh()
    assert (control.scales, control.unreadable) == ({}, {})


async def test_a_damaged_record_without_a_copy_stays_and_the_error_says_what_to_do(bus):
    await bus.records.js.publish("$KV.CONTROL.service.fax", b"{")
    with pytest.raises(NotFound) as raised:
        await Control(bus).mend("service.fax")
    assert "headway apply" in str(raised.value.remedy)


async def test_a_deleted_record_leaves_no_copy_behind(bus):
    control = Control(bus)
    await control.put(service_key("fax"), FAX)
    await control.delete(service_key("fax"))
    with pytest.raises(NotFound):
        await control.mend("service.fax")


async def test_what_a_replica_behind_the_leader_answers_is_not_taken_for_the_present(bus, monkeypatch):
    """Weights of a moment ago would send traffic to a version that has been retired since."""
    await Control(bus).put(service_key("fax"), FAX)
    known = Control(bus, current=True)
    await known.refresh()
    await Control(bus).put(version_key("fax", "v1"), V1)
    read = store.values.since

    async def behind(*arguments):
        messages = [message async for message in read(*arguments)]
        for message in messages[:-1]:
            yield message

    monkeypatch.setattr(store.values, "since", behind)
    known.reconnected()
    for control in (known, Control(bus, current=True)):
        with pytest.raises(ConnectionFailed, match="the leader up to"):
            await control.refresh()
    assert known.services == {"fax": FAX}
    monkeypatch.undo()
    await known.refresh()
    assert known.versions == {("fax", "v1"): V1}


async def test_no_record_at_all_is_current(bus):
    control = Control(bus, current=True)
    await control.refresh()
    assert control.services == {}
