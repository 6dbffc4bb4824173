"""Backup and restore: everything is wiped, and comes back message by message, with positions; or nothing is changed."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest

from headway.backup import archive
from headway.backup.archive import OF_CONTROL
from headway.backup.create import create
from headway.backup.errors import BadBackup, NotEmpty, SnapshotFailed
from headway.backup.restore import into_directory, into_server
from headway.broker import testing
from headway.broker.broker import Broker
from headway.broker.errors import AlreadyRunning, BadIdentity
from headway.bus import Context, Service
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.errors import ConnectionFailed
from headway.bus.nats import jsapi, streams
from headway.bus.worker import queues
from headway.control.records import VersionRecord
from headway.control.store import Control, version_key
from headway.place import pool_of
from tests.support.headway_process import FREE, environment, eventually, headway


def quietly(_line: str) -> None:
    pass


@asynccontextmanager
async def site(directory: Path, *, provision: bool = True) -> AsyncIterator[testing.TestBus]:
    async with (
        Broker.start(directory, port=0, ws_port=None, provision=provision) as broker,
        await broker.connect("operator") as connection,
    ):
        yield testing.TestBus(broker, connection)


def fax(done: list[str] | None = None, *, ack_wait: float = 30.0) -> Service:
    service = Service("fax", ack_wait=ack_wait)

    @service.job("send")
    async def send(key: str, ctx: Context) -> None:
        await ctx.objects.put("fax", key, {"sent": key})
        if done is not None:
            done.append(key)

    @service.on("call.ended")
    async def ended(key: str, ctx: Context) -> None:
        await ctx.objects.put("call", key, {"ended": key})

    return service


async def fill(bus: testing.TestBus) -> None:
    """Put something of each kind into each stream, and leave consumers at different positions."""
    await bus.broker.set_routes({"fax": {"v1": 100}})
    await queues.declare(bus.bus.js, fax(), "v1")
    for number in range(30):
        await bus.submit("fax", "send", f"f{number}", tenant=f"tenant-{number % 5}", key=f"f{number}")
        await bus.emit("call.ended", f"c{number}", tenant="acme")
    acme = bus.tenant("acme")
    for number in range(10):
        await acme.objects.put("fax", f"o{number}", {"number": number, "text": "x" * number * 100})
    await acme.objects.delete("fax", "o3")
    await acme.blobs.put("page.tif", os.urandom(700_000))
    await acme.submit("fax", "send", "tomorrow", delay=86_400)
    await bus.bus.js.publish("dead.fax.acme.send", b"{}", headers={"Headway-Dead-Cause": "rejected"})
    for info in await bus.bus.js.consumers_info("JOBS_fax"):
        if (info.num_pending or 0) >= 3:
            puller = await bus.bus.js.pull_subscribe_bind(info.name, stream="JOBS_fax")
            first, second = await puller.fetch(2, timeout=10)
            await first.ack_sync(timeout=10)
            await second.nak(delay=600)
            await puller.unsubscribe()


async def messages(bus: Bus) -> dict[str, dict[int, object]]:
    """Every message of every stream by sequence: subject, headers, payload and time, as the server has them."""
    found: dict[str, dict[int, object]] = {}
    for at, prefix in ((bus, ""), (bus.records, OF_CONTROL)):
        infos, _ = await jsapi.listed(at.nc, "STREAM.LIST", "streams")
        for info in infos:
            name, state = info["config"]["name"], info["state"]
            kept = found[prefix + name] = {}
            for seq in range(state["first_seq"], state["last_seq"] + 1):
                reply = await at.nc.request(f"$JS.API.STREAM.MSG.GET.{name}", b'{"seq":%d}' % seq, timeout=5)
                told = json.loads(reply.data)
                if "message" in told:
                    kept[seq] = told["message"]
    return found


async def positions(bus: Bus) -> dict[tuple[str, str], object]:
    """Every consumer's settings and how far it has come."""
    infos, _ = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    found: dict[tuple[str, str], object] = {}
    for info in infos:
        name = info["config"]["name"]
        for one in (await jsapi.listed(bus.nc, f"CONSUMER.LIST.{name}", "consumers"))[0]:
            config = {key: value for key, value in one["config"].items() if key not in {"pause_until", "metadata"}}
            at = [one[part]["consumer_seq"] for part in ("delivered", "ack_floor")]
            if at != [0, 0]:  # one that has delivered nothing yet is moved to the stream's first message by any restart
                at += [one[part]["stream_seq"] for part in ("delivered", "ack_floor")]
            left = [one[key] for key in ("num_pending", "num_ack_pending", "num_redelivered")]
            found[name, one["name"]] = (config, at, left)
    return found


async def test_what_was_wiped_comes_back_message_by_message_with_keys_routes_and_positions(tmp_path, until):
    directory, target = tmp_path / "site", tmp_path / "monday.tar"
    async with site(directory) as bus:
        await fill(bus)
        creds = bus.broker.identities.creds("client", tenant="acme")
        gone = bus.broker.identities.mint("client", tenant="acme")
        await bus.broker.revoke([gone.public_key])
        was, stood = await messages(bus.bus), await positions(bus.bus)
        manifest = await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
        assert await positions(bus.bus) == stood, "nothing is paused any more"
    assert manifest.settled
    assert set(was) == set(manifest.streams) >= {"JOBS_fax", "LATER", "EVENTS", "OBJECTS", "OBJ_BLOBS", "DEAD"}
    assert set(manifest.streams) >= {"control/KV_CONTROL", "control/OBJECTS"}
    assert any(left[1] for _, _, left in stood.values()), "something is delivered and not acknowledged"
    assert target.stat().st_mode & 0o777 == 0o600

    shutil.rmtree(directory)
    assert await into_directory(target, directory, replace=False, say=quietly) is None
    assert {path.name for path in tmp_path.iterdir()} == {"site", "monday.tar"}, "nothing else is left"
    async with site(directory, provision=False) as bus:
        assert await messages(bus.bus) == was
        assert await positions(bus.bus) == stood
        assert await bus.broker.routes() == {"fax": {"v1": 100}}
        last = await bus.tenant("acme").objects.get("fax", "o9", dict)
        assert last is not None
        assert last.value == {"number": 9, "text": "x" * 900}
        assert await bus.tenant("acme").objects.get("fax", "o3", dict) is None
        assert len(await bus.tenant("acme").blobs.get("page.tif")) == 700_000
        async with await connect(bus.url, creds=creds) as client:
            assert (await client.submit("fax", "send", "late", tenant="acme")).seq == 31
        with pytest.raises(ConnectionFailed):
            await connect(bus.url, creds=gone.text, timeout=2)


async def test_jobs_go_on_where_they_were_and_a_repeated_one_is_still_known(tmp_path, until):
    directory, target = tmp_path / "site", tmp_path / "backup"
    before: list[str] = []
    async with site(directory) as bus:
        async with bus.serving(fax(before)):
            for number in range(10):
                await bus.submit("fax", "send", f"a{number}", tenant="acme", key=f"a{number}")
            await until(lambda: len(before) == 10)
        for number in range(20):
            await bus.submit("fax", "send", f"b{number}", tenant="acme", key=f"b{number}")
        await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
    shutil.rmtree(directory)
    await into_directory(target, directory, replace=False, say=quietly)
    after: list[str] = []
    async with site(directory) as bus, bus.serving(fax(after)):
        assert (await bus.submit("fax", "send", "b0", tenant="acme", key="b0")).duplicate
        await until(lambda: len(after) == 20)
        assert await bus.tenant("acme").objects.get("fax", "a0", dict) is not None
    assert sorted(after) == sorted(f"b{number}" for number in range(20))


async def test_a_backup_under_load_holds_each_job_that_was_accepted_or_its_effect(tmp_path, until):
    directory, target = tmp_path / "site", tmp_path / "backup"
    accepted: list[str] = []
    done: list[str] = []
    stop = asyncio.Event()
    async with site(directory) as bus, bus.serving(fax(done), workers=2):

        async def submit(who: int) -> None:
            number = 0
            while not stop.is_set():
                key = f"{who}-{number}"
                await bus.submit("fax", "send", key, tenant=f"tenant-{who}", key=key)
                accepted.append(key)
                number += 1

        async with asyncio.TaskGroup() as group:
            for who in range(4):
                group.create_task(submit(who))
            await until(lambda: len(done) > 100)
            promised = list(accepted)
            manifest = await create(bus.bus, bus.url, directory, target, settle=10, say=quietly)
            count = len(done)
            await until(lambda: len(done) > count + 50)  # it goes on afterwards
            stop.set()
    assert manifest.settled
    await into_directory(target, tmp_path / "other", replace=False, say=quietly)
    again: list[str] = []
    async with site(tmp_path / "other") as bus:
        effects = {subject.rpartition(".")[2] for subject in (await _subjects(bus.bus, "OBJECTS"))}
        async with bus.serving(fax(again)):
            await until(lambda: set(promised) <= effects | set(again))


async def _subjects(bus: Bus, stream: str) -> dict[str, int]:
    return (await bus.js.stream_info(stream, subjects_filter=">")).state.subjects or {}


async def test_a_restored_installation_runs_its_versions_and_browsers_notice_that_it_is_another(tmp_path):
    directory, target = tmp_path / "site", tmp_path / "backup"
    record = VersionRecord(service="fax", version="v1", app="a:b", root="x", pool=pool_of(directory))
    foreign = record.model_copy(update={"version": "v2", "pool": "elsewhere"})
    async with site(directory) as bus:
        control = Control(bus.bus)
        for one in (record, foreign):
            await control.put(version_key("fax", one.version), one)
        created = (await jsapi.request(bus.bus.nc, "STREAM.INFO.OBJECTS"))["created"]
        await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
    await into_directory(target, tmp_path / "other", replace=False, say=quietly)
    async with site(tmp_path / "other", provision=False) as bus:
        control = Control(bus.bus)
        await control.refresh()
        pools = {version: one.pool for (_, version), one in control.versions.items()}
        assert pools == {"v1": pool_of(tmp_path / "other"), "v2": "elsewhere"}
        assert (await jsapi.request(bus.bus.nc, "STREAM.INFO.OBJECTS"))["created"] != created


async def test_a_backup_of_the_version_before_has_its_records_among_the_others_and_they_are_moved(tmp_path):
    directory, target = tmp_path / "site", tmp_path / "backup"
    record = VersionRecord(service="fax", version="v1", app="a:b", root="x", pool=pool_of(directory))
    async with site(directory) as bus:
        # As the version before had it: the records in the application account, and nothing of control's in the backup.
        config = next(one for one in streams.of_control() if one.name == streams.CONTROL)
        await streams.ensure(bus.bus.js, config)
        await bus.bus.js.publish("$KV.CONTROL.version.fax.v1", record.model_dump_json().encode())
        await bus.bus.js.publish("$KV.CONTROL.code.planted", b"{}")
        await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
    manifest = archive.BackupManifest.model_validate_json((target / "manifest.json").read_bytes())
    older = {name: one for name, one in manifest.streams.items() if not name.startswith(OF_CONTROL)}
    files = {name: one for name, one in manifest.files.items() if not name.startswith(f"streams/{OF_CONTROL}")}
    manifest = manifest.model_copy(update={"format": 1, "streams": older, "files": files})
    whole = manifest.model_copy(update={"check": manifest.digest})
    (target / "manifest.json").write_text(whole.model_dump_json())
    await into_directory(target, tmp_path / "other", replace=False, say=quietly)
    async with site(tmp_path / "other") as bus:
        control = Control(bus.bus)
        await control.refresh()
        assert control.versions == {("fax", "v1"): record.model_copy(update={"pool": pool_of(tmp_path / "other")})}
        assert await _subjects(bus.bus.records, "KV_CONTROL") == {
            "$KV.CONTROL.version.fax.v1": 1,
            "$KV.CONTROL.copy.version.fax.v1": 1,
        }
    async with site(tmp_path / "third") as bus:
        await Control(bus.bus).put(version_key("fax", "v2"), record)
        with pytest.raises(NotEmpty, match="control/KV_CONTROL"):
            await into_server(target, bus.bus, tmp_path, replace=False, replicas=None, say=quietly)
        await into_server(target, bus.bus, tmp_path, replace=True, replicas=None, say=quietly)
        control = Control(bus.bus)
        await control.refresh()
        assert set(control.versions) == {("fax", "v1")}


async def test_what_is_there_is_not_touched_unless_told_and_what_runs_never(tmp_path):
    directory, target = tmp_path / "site", tmp_path / "backup"
    async with site(directory) as bus:
        await bus.tenant("acme").objects.put("call", "old", 1)
        await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
        with pytest.raises(AlreadyRunning):
            await into_directory(target, directory, replace=True, say=quietly)
        await bus.tenant("acme").objects.put("call", "new", 1)
    with pytest.raises(NotEmpty):
        await into_directory(target, directory, replace=False, say=quietly)
    with pytest.raises(NotEmpty):
        async with site(directory) as bus:
            await create(bus.bus, bus.url, directory, target, settle=0, say=quietly)
    former = await into_directory(target, directory, replace=True, say=quietly)
    assert former is not None
    counts = []
    for place in (directory, former):
        async with site(place) as bus:
            counts.append((await bus.bus.js.stream_info("OBJECTS")).state.messages)
    assert counts == [1, 2]


async def test_streams_are_given_to_a_running_server_in_as_many_copies_as_asked_for(tmp_path, until):
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        was, stood = await messages(bus.bus), await positions(bus.bus)
        await create(bus.bus, bus.url, tmp_path / "nowhere", tmp_path / "single", settle=0, say=quietly)
    async with testing.cluster() as cluster, await cluster.broker.connect("operator") as bus:
        await into_server(tmp_path / "single", bus, tmp_path, replace=False, replicas=3, say=quietly)

        async def led() -> bool:
            infos, silent = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
            peers = [peer for info in infos for peer in info["cluster"].get("replicas") or ()]
            return not silent and len(peers) == 2 * len(infos) and all(peer["current"] for peer in peers)

        await until(led)
        assert {info.config.num_replicas for info in await bus.js.streams_info()} == {3}
        assert await messages(bus) == was
        assert {key: at for key, (_, at, _) in (await positions(bus)).items()} == {
            key: at for key, (_, at, _) in stood.items()
        }
        with pytest.raises(NotEmpty, match="EVENTS"):
            await into_server(tmp_path / "single", bus, tmp_path, replace=False, replicas=3, say=quietly)
        await create(bus, cluster.broker.url, tmp_path / "nowhere", tmp_path / "triple", settle=0, say=quietly)
    async with site(tmp_path / "alone") as bus:
        await into_server(tmp_path / "triple", bus.bus, tmp_path, replace=True, replicas=None, say=quietly)
        assert {info.config.num_replicas for info in await bus.bus.js.streams_info()} == {1}
        assert await messages(bus.bus) == was


async def test_the_nats_cli_restores_our_streams_and_we_restore_its(tmp_path, nats_cli):
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        was, stood = await messages(bus.bus), await positions(bus.bus)
        await create(bus.bus, bus.url, tmp_path / "site", tmp_path / "backup", settle=0, say=quietly)
        await jsapi.request(bus.bus.nc, "STREAM.DELETE.JOBS_fax")
        await nats_cli(bus.broker, "stream", "restore", str(tmp_path / "backup" / "streams" / "JOBS_fax"))
        assert (await messages(bus.bus))["JOBS_fax"] == was["JOBS_fax"]
        assert await positions(bus.bus) == stood


async def test_keys_that_are_not_the_servers_are_not_saved_beside_its_streams(tmp_path):
    async with Broker.start(tmp_path / "other", port=0, ws_port=None):
        pass
    async with site(tmp_path / "site") as bus:
        with pytest.raises(BadIdentity, match="do not belong to the server"):
            await create(bus.bus, bus.url, tmp_path / "other", tmp_path / "backup", settle=0, say=quietly)
    assert not (tmp_path / "backup").exists()


@pytest.fixture
async def saved(tmp_path) -> Path:
    """A small backup, as a folder."""
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        await create(bus.bus, bus.url, tmp_path / "site", tmp_path / "saved", settle=0, say=quietly)
    return tmp_path / "saved"


async def test_a_backup_that_is_damaged_in_any_file_is_refused_and_nothing_is_made(saved, tmp_path):
    files = sorted(path for path in saved.rglob("*") if path.is_file())
    assert len(files) > 15
    for path in files:
        good = path.read_bytes()
        middle = len(good) // 2
        for bad in (good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :], good[:-2], None):
            path.unlink()
            if bad is not None:
                path.write_bytes(bad)
            with pytest.raises(BadBackup), archive.reading(saved, tmp_path):
                pass
            path.write_bytes(good)
    with pytest.raises(BadBackup):
        path.unlink()
        await into_directory(saved, tmp_path / "made", replace=False, say=quietly)
    assert not (tmp_path / "made").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_cut_off_or_names_places_outside_is_refused(tmp_path):
    with archive.writing(tmp_path / "a.tar") as writer:
        writer.add("data/routes.json", b"{}" * 5000)
        manifest = archive.BackupManifest(
            at=0, headway="0", server="0", pool="", settled=True, streams={}, files=dict(writer.files)
        )
        archive.finish(writer, manifest)
    with archive.reading(tmp_path / "a.tar", tmp_path) as reader:
        assert [str(place) for place, _, _ in reader.data()] == ["routes.json"]
    whole = (tmp_path / "a.tar").read_bytes()
    for size in (0, 100, 3000, len(whole) // 2):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(BadBackup), archive.reading(tmp_path / "cut.tar", tmp_path):
            pass
    for name in ("../evil", "/evil", "data/../../evil", "data/../evil", "elsewhere/evil"):
        (tmp_path / "evil.json").write_text("{}")
        with tarfile.open(tmp_path / "evil.tar", "w") as tar:
            tar.add(tmp_path / "evil.json", name)
        with pytest.raises(BadBackup), archive.reading(tmp_path / "evil.tar", tmp_path):
            pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "cut.tar", "evil.tar", "evil.json"}


async def test_a_full_disk_leaves_nothing_that_looks_like_a_backup(tmp_path, monkeypatch):
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # writing more fails, as on a full disk
        try:
            with pytest.raises(SnapshotFailed, match="cannot write"):
                await create(bus.bus, bus.url, tmp_path / "site", tmp_path / "backup", settle=0, say=quietly)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name for path in tmp_path.iterdir()} == {"site"}
        assert {one.paused for one in await _consumers(bus.bus)} == {False}
        await create(bus.bus, bus.url, tmp_path / "site", tmp_path / "backup", settle=0, say=quietly)


class _Consumer:
    def __init__(self, info: dict[str, object]) -> None:
        self.paused = bool(info.get("paused"))
        self.remaining = float(str(info.get("pause_remaining", 0))) / 1e9


async def _consumers(bus: Bus) -> list[_Consumer]:
    return [_Consumer(one) for one in (await jsapi.listed(bus.nc, "CONSUMER.LIST.JOBS_fax", "consumers"))[0]]


async def test_a_backup_that_is_killed_looks_like_none_and_its_pause_ends_by_itself(tmp_path, until):
    directory = tmp_path / "site"
    async with site(directory) as bus:
        await fill(bus)
        creds = bus.broker.identities.creds_file("operator")
        command = [
            "backup",
            "create",
            str(tmp_path / "backup"),
            "--url",
            bus.url,
            "--creds",
            str(creds),
            "--dir",
            str(directory),
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headway", *command, env=environment(), stderr=subprocess.DEVNULL
        )
        try:

            async def paused() -> list[_Consumer] | None:
                found = await _consumers(bus.bus)
                return found if all(one.paused for one in found) else None

            assert all(one.remaining <= 60 for one in await until(paused))
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    assert not (tmp_path / "backup").exists()
    (left,) = tmp_path.glob(".backup.unfinished-*")
    with pytest.raises(BadBackup):
        await into_directory(left, tmp_path / "made", replace=False, say=quietly)


def test_a_whole_site_is_wiped_and_goes_on(fresh):
    running = fresh("app:hello", *FREE)
    running.says("ready:")
    (running.folder / "kit").mkdir()
    (running.folder / "kit" / "__init__.py").write_text("from headway import Service\nkit = Service('kit')\n")
    done = running.run("image", "build", "kit", "--version", "v9")
    assert done.returncode == 0, done.stderr
    running.run("submit", "hello", "letter", '{"name": "Old"}', "--tenant", "acme")
    running.run("submit", "hello", "letter", '{"name": "Nobody"}', "--tenant", "acme")
    written = ("call", "hello", "written", '{"name": "Old"}', "--tenant", "acme")
    eventually(lambda: running.json(*written) and "rejected" in running.run("dead", "ls").stdout)
    done = running.run("backup", "create", "monday.tar")
    assert done.returncode == 0, done.stderr
    assert "10 streams, with keys" in done.stdout
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.process.wait(40) == 0
    for path in (running.folder / ".headway").rglob("*"):
        path.chmod(0o700) if path.is_dir() else None
    shutil.rmtree(running.folder / ".headway")

    assert "is complete" in headway(running.folder, "backup", "restore", "monday.tar", "--check").stdout
    done = headway(running.folder, "backup", "restore", "monday.tar")
    assert done.returncode == 0, done.stderr
    assert headway(running.folder, "image", "verify").returncode == 0
    again = fresh("app:hello", *FREE, folder=running.folder)
    again.says("ready:")
    assert again.json(*written) is True
    assert "rejected" in again.run("dead", "ls").stdout
    again.run("submit", "hello", "letter", '{"name": "New"}', "--tenant", "acme")
    eventually(lambda: again.json("call", "hello", "written", '{"name": "New"}', "--tenant", "acme"))


def test_a_stopped_site_is_saved_as_well_and_mistakes_are_one_line_each(fresh, tmp_path):
    running = fresh("app:hello", *FREE)
    running.says("ready:")
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.process.wait(40) == 0
    assert headway(running.folder, "backup", "create", "b").returncode == 0
    for command, code, says in (
        (("backup", "create", "b"), 11, "b exists"),
        (("backup", "restore", "b"), 11, ".headway is not empty"),
        (("backup", "restore", "app.py", "--dir", "x"), 11, "is not a backup"),
        (("backup", "restore", "b", "--replicas", "3", "--dir", "x"), 2, "--url"),
        (("backup", "restore", "b", "--url", "nats://127.0.0.1:1"), 3, "no connection"),
    ):
        done = headway(running.folder, *command)
        assert done.returncode == code, (command, done.stderr)
        assert says in done.stderr
        assert "Traceback" not in done.stderr


async def test_a_server_that_stops_in_between_ends_the_backup_with_a_clear_error(tmp_path):
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        assert bus.broker.server is not None
        server = bus.broker.server

        def kill(line: str) -> None:
            if line.startswith("JOBS_fax"):
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)

        with pytest.raises((SnapshotFailed, ConnectionFailed, nats.errors.Error)) as caught:
            await create(bus.bus, bus.url, tmp_path / "nowhere", tmp_path / "backup", settle=0, say=kill)
        assert not isinstance(caught.value, nats.errors.Error)
    assert {path.name for path in tmp_path.iterdir()} == {"site"}


async def test_provisioning_after_a_restore_changes_nothing(tmp_path):
    async with site(tmp_path / "site") as bus:
        await fill(bus)
        was, stood = await messages(bus.bus), await positions(bus.bus)
        await create(bus.bus, bus.url, tmp_path / "site", tmp_path / "backup", settle=0, say=quietly)
    await into_directory(tmp_path / "backup", tmp_path / "other", replace=False, say=quietly)
    async with site(tmp_path / "other") as bus:
        await streams.provision(bus.bus.js)
        await queues.declare(bus.bus.js, fax(), "v1")
        assert await messages(bus.bus) == was
        assert await positions(bus.bus) == stood
