"""Restores a backup into a data directory (built aside and moved into place) or onto a server."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from headway.backup import archive, snapshot
from headway.backup.archive import Reader
from headway.backup.create import summary_of
from headway.backup.errors import NotEmpty, SnapshotFailed
from headway.backup.quiet import resume
from headway.broker import lock
from headway.broker.broker import Broker
from headway.broker.errors import AlreadyRunning, NotReady
from headway.broker.provision import move_records
from headway.bus.client.bus import Bus
from headway.bus.errors import MissingStream
from headway.bus.nats import jsapi, streams
from headway.bus.nats.streams import CONTROL
from headway.control.records import VersionRecord
from headway.control.store import Control, version_key
from headway.endpoint import read_running
from headway.images import image
from headway.place import pool_of

Say = Callable[[str], None]

_STORE: Final = "nats"
_PIECE: Final = 1 << 20


async def into_directory(source: Path, directory: Path, *, replace: bool, say: Say) -> Path | None:
    """Create a data directory from a backup. Nothing is changed until it is moved into place at the end.

    Args:
        source: the backup.
        directory: the target; it must not exist, or be empty.
        replace: move an existing directory aside instead.
        say: receives progress messages.

    Returns:
        where the former directory was moved to; None if there was none.

    Raises:
        NotEmpty: if the target is not empty.
        AlreadyRunning: if a server runs on it; its directory is never replaced.
        BadBackup: if the backup is not complete.
        SnapshotFailed, BrokerError: if the restore fails.
    """
    await _free(directory)
    if _filled(directory) and not replace:
        raise NotEmpty(f"{directory} is not empty")
    aside = directory.with_name(f".{directory.name}.restoring-{secrets.token_hex(4)}")
    try:
        with archive.reading(source, directory.parent) as reader:
            await asyncio.to_thread(_files, reader, aside)
            async with (
                Broker.start(aside, port=0, ws_port=None, provision=False) as broker,
                await broker.connect("operator", name="restore") as bus,
            ):
                await _streams(bus, reader, say, replace=False, replicas=None)
                await _moved(bus, reader.manifest.pool, pool_of(directory))
        await _free(directory)
        return await asyncio.to_thread(_put, aside, directory)
    finally:
        await asyncio.to_thread(_remove, aside)


async def into_server(source: Path, bus: Bus, scratch: Path, *, replace: bool, replicas: int | None, say: Say) -> None:
    """Restore the streams of a backup to a running server. Its keys and routes stay as they are.

    Args:
        source: the backup.
        bus: an operator's connection.
        scratch: folder for unpacking a `.tar` file temporarily.
        replace: existing streams with messages are deleted first.
        replicas: copies that the streams get; None keeps their number, or uses one on a single server.
        say: receives progress messages.

    Raises:
        NotEmpty: if a stream exists and has messages.
        BadBackup, SnapshotFailed, StoreError, ConnectionFailed: if the restore fails.
    """
    with archive.reading(source, scratch) as reader:
        await _streams(bus, reader, say, replace=replace, replicas=replicas)


async def _free(directory: Path) -> None:
    """Refuse a directory that is in use."""
    running = read_running(directory)
    if running is not None:
        raise AlreadyRunning(f"`headway up` (process {running.pid}) runs on {directory}", remedy="stop it first")
    if (directory / _STORE / "lock").exists():
        try:
            async with lock.held(directory / _STORE / "lock", timeout=0):
                pass
        except NotReady as error:
            raise AlreadyRunning(f"a server runs on {directory}", remedy="stop it first") from error


def _filled(directory: Path) -> bool:
    return directory.exists() and any(directory.iterdir())


def _files(reader: Reader, aside: Path) -> None:
    aside.mkdir(mode=0o700, parents=True)
    for place, path, file in reader.data():
        target = aside / place
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        of_image = place.parts[0] == image.IMAGES and place.parts[1] != image.LABELS
        mode = (0o555 if file.executable else 0o444) if of_image else 0o600
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as written, path.open("rb") as read:
            shutil.copyfileobj(read, written, _PIECE)
            written.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    for digest in image.digests(aside):
        image.verify(image.folder(aside, digest), digest)
        for folder in [image.folder(aside, digest), *image.folder(aside, digest).rglob("*")]:
            if folder.is_dir():
                folder.chmod(0o555)


async def _streams(bus: Bus, reader: Reader, say: Say, *, replace: bool, replicas: int | None) -> None:
    await _room(bus, reader, replace=replace)
    for name in sorted(reader.manifest.streams):
        at, stream = _account(bus, name)
        told = await snapshot.load(at.nc, reader.snapshot(name), reader.chunks(name), replicas=replicas)
        _compare(name, reader, told)
        await resume(at, stream)
        say(f"{name}: {told['state']['messages']:,} messages, {reader.manifest.streams[name].consumers} consumers")

    if CONTROL in reader.manifest.streams:
        await streams.provision_control(bus.records.js, replicas or await streams.copies(bus.js))
        await move_records(bus)


def _account(bus: Bus, name: str) -> tuple[Bus, str]:
    """Return the connection to the account of a stream of a backup, and the stream's name there."""
    inside = name.startswith(archive.OF_CONTROL)
    return bus.records if inside else bus, name.removeprefix(archive.OF_CONTROL)


async def _room(bus: Bus, reader: Reader, *, replace: bool) -> None:
    """Delete the streams that will be restored: all or none, and only empty ones unless `replace` is set."""
    wanted = set(reader.manifest.streams)
    if CONTROL in wanted:  # a backup of an earlier version: its records end up in control's account
        wanted.add(archive.OF_CONTROL + CONTROL)
    there: dict[str, int] = {}
    silent: set[str] = set()
    for at, prefix in ((bus, ""), (bus.records, archive.OF_CONTROL)):
        infos, quiet = await jsapi.listed(at.nc, "STREAM.LIST", "streams")
        there |= {prefix + info["config"]["name"]: info["state"]["messages"] for info in infos}
        silent |= {prefix + name for name in quiet}
    full = sorted(name for name in wanted if there.get(name) or name in silent)
    if full and not replace:
        raise NotEmpty(f"streams exist already: {', '.join(full)}")
    for name in wanted & (there.keys() | silent):
        at, stream = _account(bus, name)
        try:
            await jsapi.request(at.nc, f"STREAM.DELETE.{stream}")
        except MissingStream:
            continue


def _compare(name: str, reader: Reader, told: dict[str, Any]) -> None:
    """Check that a stream is as it was; messages may have expired since.

    Raises:
        SnapshotFailed: if not.
    """
    was, now = reader.manifest.streams[name], summary_of(told["state"])
    config = told["config"]
    ends = bool(config.get("max_age") or config.get("allow_msg_ttl"))
    fewer = now.messages < was.messages if ends else False
    if not ((now.messages, now.last) == (was.messages, was.last) or (fewer and now.last >= was.last)):
        raise SnapshotFailed(
            f"stream {name} has {now.messages:,} messages up to {now.last}, not {was.messages:,} up to {was.last}",
            remedy="use another backup",
        )


async def _moved(bus: Bus, before: str, now: str) -> None:
    """Move versions from the pool of the saved directory to that of the restored one."""
    if before in {"", now}:
        return
    control = Control(bus)
    try:
        await control.refresh()
    except MissingStream:
        return
    for (service, version), record in control.versions.items():
        if record.pool == before:
            key = version_key(service, version)
            await control.change(key, VersionRecord, lambda old: old.model_copy(update={"pool": now}))


def _put(aside: Path, directory: Path) -> Path | None:
    """Move a data directory into place, and a former one aside."""
    former = None
    if _filled(directory):
        former = directory.with_name(f"{directory.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        directory.rename(former)
    elif directory.exists():
        directory.rmdir()
    try:
        aside.rename(directory)
    except OSError as error:
        if former is not None:
            former.rename(directory)
        why = f"cannot put {directory} in place: {error.strerror}"
        raise SnapshotFailed(why, remedy="check the owner of its parent folder") from error
    return former


def _remove(tree: Path) -> None:
    """Delete the remains of a failed restore; folders of images are read-only."""
    if not tree.exists():
        return
    for at, folders, _ in os.walk(tree):
        for name in folders:
            (Path(at) / name).chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)
