"""A backup on disk: written under a temporary name, renamed when complete, and fully verified before it is read."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headway.backup.errors import BadBackup, NotEmpty, SnapshotFailed
from headway.backup.snapshot import CHUNK, Snapshot

MANIFEST: Final = "manifest.json"
STREAMS: Final = "streams"
DATA: Final = "data"
STATE: Final = "backup.json"
CONTENT: Final = "stream.arc.s2"
OF_CONTROL: Final = "control/"
"""Prefix of the names of streams that are in control's account."""
FORMAT: Final = 2
_READABLE: Final = frozenset({1, FORMAT})
"""Format 1 has no streams of control's account: the control records are among the others."""
_UNFINISHED: Final = ".unfinished-"


class ArchivedFile(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str
    executable: bool = False


class StreamSummary(BaseModel):
    """One stream of a backup, for display and for the check after a restore."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: int
    bytes: int
    first: int
    last: int
    consumers: int


class BackupManifest(BaseModel):
    """The description of a backup.

    Attributes:
        format: of the backup.
        at: unix seconds of its beginning.
        headway, server: the versions that wrote it.
        pool: the pool of the data directory's workers; "" without one.
        settled: whether no job or event was being processed.
        streams: by name.
        files: all other files in the backup, by path.
        check: SHA-256 of all of the above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    at: float
    headway: str
    server: str
    pool: str
    settled: bool
    streams: dict[str, StreamSummary]
    files: dict[str, ArchivedFile]
    check: str = ""

    @property
    def digest(self) -> str:
        """Return the expected digest for `check`."""
        return hashlib.sha256(orjson.dumps(self.model_dump(exclude={"check"}), option=orjson.OPT_SORT_KEYS)).hexdigest()


class Writer:
    """A backup being written, in a folder beside its destination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, ArchivedFile] = {}

    @contextmanager
    def file(self, name: str, *, executable: bool = False) -> Iterator[_Hashing]:
        """Write a file of the backup; it is synced to disk when the block ends."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            hashing = _Hashing(file)
            yield hashing
            file.flush()
            os.fsync(descriptor)
        self.files[name] = ArchivedFile(size=hashing.size, sha256=hashing.digest, executable=executable)

    def add(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """Write a small file of the backup."""
        with self.file(name, executable=executable) as file:
            file.write(data)


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)


@contextmanager
def writing(target: Path) -> Iterator[Writer]:
    """Write a backup. It appears at its target only once `finish` was called and the block ended without an error.

    Args:
        target: a new folder, or a file if the name ends in `.tar`.

    Raises:
        NotEmpty: if the target exists already.
        SnapshotFailed: if it cannot be written.
    """
    if target.exists():
        raise NotEmpty(f"{target} exists", remedy="choose another target, or move the existing one away")
    folder = target.with_name(f".{target.name}{_UNFINISHED}{secrets.token_hex(4)}")
    packed = folder.with_name(folder.name + ".tar")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        yield Writer(folder)
        if target.suffix == ".tar":
            _pack(folder, packed)
            packed.rename(target)
        else:
            _sync_folders(folder)
            folder.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise SnapshotFailed(
            f"cannot write {target}: {error.strerror or error}", remedy="free some disk space"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        packed.unlink(missing_ok=True)


def finish(writer: Writer, manifest: BackupManifest) -> None:
    """Write the manifest, the last file of a backup."""
    whole = manifest.model_copy(update={"check": manifest.digest})
    text = orjson.dumps(whole.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    with writer.file(MANIFEST) as file:
        file.write(text)


class Reader:
    """A backup with exactly the files of its manifest, all unchanged."""

    def __init__(self, folder: Path, manifest: BackupManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def snapshot(self, stream: str) -> Snapshot:
        """Return the stream and server of a snapshot."""
        found = orjson.loads((self.folder / STREAMS / stream / STATE).read_bytes())
        return Snapshot(found["config"], found["state"])

    def chunks(self, stream: str) -> Iterator[bytes]:
        """Return the data of a stream's snapshot."""
        with (self.folder / STREAMS / stream / CONTENT).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def data(self) -> Iterator[tuple[PurePosixPath, Path, ArchivedFile]]:
        """Return the files of the data directory: path in it, present location, and description."""
        for name, file in self.manifest.files.items():
            path = PurePosixPath(name)
            if path.parts[0] == DATA:
                yield PurePosixPath(*path.parts[1:]), self.folder / name, file


@contextmanager
def reading(source: Path, scratch: Path) -> Iterator[Reader]:
    """Open a backup and verify all of it.

    Args:
        source: a folder, or a file made by `writing`.
        scratch: folder for unpacking a `.tar` file temporarily.

    Raises:
        BadBackup: if it is damaged, incomplete, or not a backup.
    """
    unpacked: Path | None = None
    try:
        if source.is_file():
            unpacked = scratch / f".{source.name}{_UNFINISHED}{secrets.token_hex(4)}"
            unpacked.mkdir(mode=0o700, parents=True)
            _unpack(source, unpacked)
        folder = unpacked or source
        manifest = _manifest(folder, source)
        _check(folder, manifest, source)
        yield Reader(folder, manifest)
    finally:
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)


def _manifest(folder: Path, source: Path) -> BackupManifest:
    try:
        text = (folder / MANIFEST).read_bytes()
        found = BackupManifest.model_validate_json(text)
    except FileNotFoundError as error:
        remedy = "give the folder or the .tar file of a backup"
        raise BadBackup(f"{source} is not a backup: it has no {MANIFEST}", remedy=remedy) from error
    except (OSError, ValidationError, ValueError) as error:
        raise BadBackup(f"{MANIFEST} of {source} cannot be read: {str(error).splitlines()[0]}") from error
    if found.format not in _READABLE:
        raise BadBackup(
            f"{source} has format {found.format}, not {FORMAT}", remedy="use the version of headway that wrote it"
        )
    if found.check != found.digest:
        raise BadBackup(f"{source} is damaged: {MANIFEST} does not match its checksum")
    return found


def _check(folder: Path, manifest: BackupManifest, source: Path) -> None:
    for name, file in manifest.files.items():
        if not _inside(name):
            raise BadBackup(f"{source} refers to a file outside the backup: {name}")
        path = folder / name
        try:
            size, digest = _sum(path)
        except OSError as error:
            raise BadBackup(f"{source} is incomplete: {name}: {error.strerror}") from error
        if (size, digest) != (file.size, file.sha256):
            raise BadBackup(f"{source} is damaged: {name} does not match its checksum")
    for stream in manifest.streams:
        if not {f"{STREAMS}/{stream}/{part}" for part in (STATE, CONTENT)} <= manifest.files.keys():
            raise BadBackup(f"{source} is incomplete: stream {stream} is missing")


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and path.parts[0] in {STREAMS, DATA}


def _sum(path: Path) -> tuple[int, str]:
    if path.is_symlink() or not path.is_file():
        raise OSError(0, "is no file")
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _pack(folder: Path, target: Path) -> None:
    """Pack a backup's folder into one file, deleting each part once it is packed to save room."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in [folder / MANIFEST, *sorted(folder.rglob("*"))]:
                if path.is_file():
                    tar.add(path, path.relative_to(folder).as_posix(), filter=_plain)
                    path.unlink()
        file.flush()
        os.fsync(descriptor)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a tar member without the owner's name and ids."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def _unpack(source: Path, folder: Path) -> None:
    try:
        with tarfile.open(source, "r:") as tar:
            for member in tar:
                if not member.isfile() or not (member.name == MANIFEST or _inside(member.name)):
                    raise BadBackup(f"{source} holds {member.name}, which does not belong to a backup")
                found = tar.extractfile(member)
                path = folder / member.name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if found is None or path.exists():
                    raise BadBackup(f"{source} holds {member.name} twice")
                with found, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    shutil.copyfileobj(found, file, CHUNK)
    except (tarfile.TarError, EOFError) as error:
        raise BadBackup(f"{source} is not a backup, or is truncated: {error}") from error
    except OSError as error:
        raise BadBackup(
            f"{source} cannot be unpacked: {error.strerror or error}", remedy="free some disk space"
        ) from error


def _sync_folders(folder: Path) -> None:
    for path in (*(one for one in folder.rglob("*") if one.is_dir()), folder):
        _sync(path)


def _sync(folder: Path) -> None:
    """Sync a folder, so that the names in it are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
