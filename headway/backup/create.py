"""Creates a backup of an installation, running or stopped."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import orjson

from headway.backup import archive, snapshot
from headway.backup.archive import BackupManifest, StreamSummary, Writer
from headway.backup.errors import SnapshotFailed
from headway.backup.quiet import quiet
from headway.broker import lock
from headway.broker.broker import LOCK_FILE, REVOKED_FILE, ROUTES_FILE, Broker
from headway.broker.errors import BadIdentity, BrokerError
from headway.broker.identity import KEY_FILE
from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed
from headway.bus.nats import jsapi
from headway.bus.nats.streams import CONTROL, EVENTS, JOBS, LATER
from headway.images import image, seal
from headway.place import pool_of

Say = Callable[[str], None]

_CREDS: Final = "creds"
_PIECE: Final = 1 << 20


async def create(
    bus: Bus, url: str, directory: Path, target: Path, *, settle: float | None, say: Say
) -> BackupManifest:
    """Write a backup of all streams, and of the data directory if it has the keys.

    Args:
        bus: an operator's connection.
        url: of the same server.
        directory: the data directory; without keys only the streams are saved.
        target: a new folder, or a new file if its name ends in `.tar`.
        settle: seconds to finish work in progress while queues are paused; None does not pause them.
        say: receives progress messages.

    Raises:
        NotEmpty: if the target exists.
        SnapshotFailed, BadIdentity, ConnectionFailed, StoreError: if it cannot be created; then nothing is left
            behind.
    """
    began = time.time()
    with archive.writing(target) as writer:
        names, inside = await _names(bus), await _names(bus.records)
        queues = [name for name in names if name.startswith(JOBS) or name == EVENTS]
        # First: a job for later that becomes due meanwhile is then in the backup twice, and not missing.
        early = [name for name in names if name == LATER]
        settled = True
        kept = {name: await _stream(bus, name, writer, say) for name in early}
        if settle is None:
            for name in queues:
                kept[name] = await _stream(bus, name, writer, say)
        else:
            async with quiet(bus, queues, settle) as settled:
                for name in queues:
                    kept[name] = await _stream(bus, name, writer, say)
        # These streams hold the effects of work, so they are consistent at any moment. The records come last: they
        # refer to images.
        for name in sorted({*names} - {*queues, *early}):
            kept[name] = await _stream(bus, name, writer, say)
        for name in sorted(inside, key=lambda name: (name == CONTROL, name)):
            kept[archive.OF_CONTROL + name] = await _stream(bus.records, name, writer, say, archive.OF_CONTROL)
        own = (directory / KEY_FILE).exists()
        if own:
            count = await _files(url, directory, writer)
            say(f"{count} files of {directory}: keys, routes, credentials, images")
        manifest = BackupManifest(
            at=began,
            headway=version("headway"),
            server=str(bus.nc.connected_server_version),
            pool=pool_of(directory) if own else "",
            settled=settled and settle is not None,
            streams=kept,
            files=writer.files,
        )
        await asyncio.to_thread(archive.finish, writer, manifest)
    return manifest


async def _names(bus: Bus) -> list[str]:
    """Return the names of all streams.

    Raises:
        SnapshotFailed: if one has no leader: a backup without it would look complete.
    """
    infos, silent = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    if silent:
        raise SnapshotFailed(f"{', '.join(silent)} do not answer", remedy="run `headway doctor`, then try again")
    return sorted(info["config"]["name"] for info in infos)


async def _stream(bus: Bus, name: str, writer: Writer, say: Say, prefix: str = "") -> StreamSummary:
    folder = f"{archive.STREAMS}/{prefix}{name}"
    with writer.file(f"{folder}/{archive.CONTENT}") as file:
        taken = await snapshot.save(bus.nc, name, file.write)
    told = {"config": taken.config, "state": taken.state}
    writer.add(f"{folder}/{archive.STATE}", orjson.dumps(told, option=orjson.OPT_INDENT_2))
    kept = summary_of(taken.state)
    say(f"{prefix}{name}: {kept.messages:,} messages, {kept.consumers} consumers, {file.size:,} bytes")
    return kept


def summary_of(state: dict[str, Any]) -> StreamSummary:
    """Return the part of a stream's state that a restore is checked against."""
    return StreamSummary(
        messages=state["messages"],
        bytes=state["bytes"],
        first=state["first_seq"],
        last=state["last_seq"],
        consumers=state.get("consumer_count", 0),
    )


async def _files(url: str, directory: Path, writer: Writer) -> int:
    """Save the files of an installation from its data directory; return how many there are.

    Raises:
        BadIdentity: if its keys are not those of the server, and so useless.
        SnapshotFailed: if something changes while it is read.
    """
    broker = Broker.external(url, dir=directory)
    try:
        await broker.routes()
    except (BrokerError, ConnectionFailed) as error:
        why = f"the keys in {directory} do not belong to the server: {error.message}"
        raise BadIdentity(why, remedy="give the data directory of this server with --dir") from error
    finally:
        await broker.close()
    async with lock.held(directory / LOCK_FILE):
        for name in (KEY_FILE, ROUTES_FILE, REVOKED_FILE, seal.KEY_FILE, seal.TRUSTED_FILE):
            if (directory / name).exists():
                await asyncio.to_thread(_file, directory, directory / name, writer)
    for folder in (_CREDS, image.IMAGES):
        await asyncio.to_thread(_folder, directory, directory / folder, writer)
    return sum(name.startswith(f"{archive.DATA}/") for name in writer.files)


def _folder(directory: Path, folder: Path, writer: Writer) -> None:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):  # locks, and files being written
                _file(directory, Path(at) / name, writer)


def _file(directory: Path, path: Path, writer: Writer) -> None:
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            return
        name = f"{archive.DATA}/{path.relative_to(directory).as_posix()}"
        with path.open("rb") as source, writer.file(name, executable=bool(mode & 0o100)) as file:
            while piece := source.read(_PIECE):
                file.write(piece)
    except FileNotFoundError as error:
        raise SnapshotFailed(f"{path} was removed while it was being saved", remedy="repeat") from error
