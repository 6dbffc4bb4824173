"""What retired versions leave behind on a real server, and what the deployer takes away of it."""

from __future__ import annotations

import pytest

from headway import Context, Service, Worker
from headway.bus.nats import jsapi
from headway.bus.worker import queues
from headway.control.fleet import Fleet
from headway.control.records import ScaleRecord, ServiceRecord, VersionRecord
from headway.control.store import Control, scale_key, service_key, version_key
from headway.deployer import cleaner as cleaning
from headway.deployer import garbage
from headway.deployer.cleaner import Cleaner
from headway.deployer.rollout import requests as ask
from headway.images import image, store
from tests.support import made_image


@pytest.fixture
async def cleaner(nats_broker, until):
    """A cleaner that sees the workers there are."""
    async with await nats_broker.connect("control") as bus:
        control, fleet = Control(bus), Fleet()
        async with fleet.listening(bus):
            made = Cleaner(bus, nats_broker, control, fleet, lambda: True, keep=2, spare=1)
            made.bus, made.records, made.fleet = bus, control, fleet
            await until(lambda: fleet.settled)
            yield made


async def consumers(bus, stream: str) -> set[str]:
    found, _ = await jsapi.listed(bus.nc, f"CONSUMER.LIST.{stream}", "consumers")
    return {one["name"] for one in found}


async def retired(cleaner, version: str, *, image: str | None = None) -> None:
    """A version that was released and retired: records and consumers."""
    fax = Service("fax")

    @fax.job("send")
    async def send(_fax: dict, _ctx: Context) -> None: ...

    await queues.declare(cleaner.bus.js, fax, version)
    record = VersionRecord(service="fax", version=version, app="a:b", root="/", phase="retired", image=image)
    await cleaner.records.put(version_key("fax", version), record)
    await cleaner.records.put(scale_key("fax", version), ScaleRecord(service="fax", version=version))


async def test_release_after_release_leaves_no_more_than_the_last_few(place):
    await place.declare("v1")
    await place.deployer(keep=3, spare=1, clean_every=0.2)
    for number in range(2, 14):
        await place.deploy(f"v{number}", steps=(100,))
        await place.reached("judge", "drain", "standby", "done")
        await ask.promote(place.control, "app", by="test")
        record = await place.reached("done", "rolled-back", "refused")
        assert record.phase == "done", record
    control = Control(place.bus)

    async def clean() -> bool:
        await control.refresh()
        names = await consumers(place.bus, "JOBS_app")
        return len(control.versions) <= 3 + 2 and len(names) <= 16 * (1 + 2)

    await place.until(clean)
    assert {("app", "v13"), ("app", "v12")} <= control.versions.keys()
    assert control.scales.keys() <= control.versions.keys()


async def test_records_images_and_consumers_go_and_a_version_with_a_job_in_its_queue_stays(cleaner, nats_broker, until):
    bus, control = cleaner.bus, cleaner.records
    await control.put(service_key("fax"), ServiceRecord(service="fax"))
    data, digests = nats_broker.data_dir, {}
    for number in range(6):
        made = made_image.manifest(service="fax", version=f"v{number}")
        digests[f"v{number}"] = store.publish(data, made, made_image.FILES)
        await retired(cleaner, f"v{number}", image=made.digest)
    never = made_image.manifest(service="fax", version="never-released")
    store.publish(data, never, made_image.FILES)
    await bus.js.publish("job.fax.v1.3.acme.send", b"{}")
    await control.refresh()
    await cleaner.clean("fax")
    await control.refresh()
    assert {version for _, version in control.versions} == {"v1", "v4", "v5"}
    assert {version for _, version in control.scales} == {"v1", "v4", "v5"}
    left = {name.rpartition("-")[0] for name in await consumers(bus, "JOBS_fax")}
    assert left == {"v1", "v5"}
    assert {version for _, version in image.labels(data)} == {"v1", "v4", "v5", "never-released"}
    assert not image.folder(data, digests["v0"]).exists()


async def test_a_job_that_comes_late_gets_its_consumer_back(cleaner, monkeypatch):
    bus, control = cleaner.bus, cleaner.records
    await control.put(service_key("fax"), ServiceRecord(service="fax"))
    for number in range(3):
        await retired(cleaner, f"v{number}")
    await control.refresh()
    delete = cleaner._delete

    async def late(stream: str, consumer: str) -> None:
        await delete(stream, consumer)
        if consumer == "v0-3":
            await bus.js.publish("job.fax.v0.3.acme.send", b"{}")

    monkeypatch.setattr(cleaner, "_delete", late)
    await cleaner._consumers("fax", "v0")
    assert "v0-3" in await consumers(bus, "JOBS_fax")
    assert "v0-4" not in await consumers(bus, "JOBS_fax")


async def test_the_consumer_of_an_event_that_no_version_handles_any_more_is_told_and_then_removed(
    cleaner, nats_broker, until, monkeypatch
):
    bus, control = cleaner.bus, cleaner.records
    old, new = Service("fax"), Service("fax")

    @old.on("order.placed")
    async def placed(_order: dict, _ctx: Context) -> None: ...

    @old.on("order.gone")
    async def gone(_order: dict, _ctx: Context) -> None: ...

    @new.on("order.placed")
    async def still(_order: dict, _ctx: Context) -> None: ...

    await queues.declare(bus.js, old, "v1")
    async with await nats_broker.connect("client", tenant="acme") as client:
        await client.tenant("acme").emit("order.gone", {})
    await control.put(service_key("fax"), ServiceRecord(service="fax"))
    live = VersionRecord(service="fax", version="v2", app="a:b", root="/", weight=100)
    await control.put(version_key("fax", "v2"), live)
    await control.refresh()
    assert (await cleaner.clean("fax")).orphans == (), "v2 has no worker that could say what it handles"
    async with await nats_broker.connect("worker", service="fax") as mine, Worker(new, mine, version="v2"):
        await until(lambda: cleaner.fleet.alive("fax"))
        assert (await cleaner.clean("fax")).orphans == ("order.gone",)
        await control.refresh()
        assert control.services["fax"].orphans == ("order.gone",)
        assert "fax_order_gone" in await consumers(bus, "EVENTS"), "it is told first"
        monkeypatch.setattr(garbage, "ORPHANED_FOR", 0.0)
        monkeypatch.setattr(cleaning, "_LISTED_FOR", 0.0)
        assert (await cleaner.clean("fax")).events == {"order.gone": 1}
        assert await consumers(bus, "EVENTS") == {"fax_order_placed"}
        await cleaner.clean("fax")
        await control.refresh()
        assert control.services["fax"].orphans == ()


async def test_while_the_lease_is_not_ours_nothing_goes(nats_broker, cleaner):
    for number in range(6):
        await retired(cleaner, f"v{number}")
    await cleaner.records.refresh()
    cleaner._leads = lambda: False
    await cleaner.clean("fax")
    await cleaner.records.refresh()
    assert len(cleaner.records.versions) == 6
    assert len(await consumers(cleaner.bus, "JOBS_fax")) == 6 * 16


async def test_a_version_that_is_released_again_meanwhile_keeps_everything(cleaner):
    bus, control = cleaner.bus, cleaner.records
    for number in range(6):
        await retired(cleaner, f"v{number}")
    await control.refresh()
    live = control.versions["fax", "v0"].model_copy(update={"phase": "live", "weight": 100})
    await Control(bus).put(version_key("fax", "v0"), live)
    await cleaner.clean("fax")  # it has not heard of that yet
    await control.refresh()
    assert control.versions["fax", "v0"] == live
    assert {f"v0-{lane}" for lane in range(16)} <= await consumers(bus, "JOBS_fax")
