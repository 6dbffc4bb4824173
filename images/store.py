"""The images of a data directory: publish, copy and remove them.

An image is written to a temporary folder and renamed, so after a crash or on a full disk it is either complete or does
not exist. The next build removes the remains of a crashed one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headway.broker import atomic
from headway.images import image, seal, signing
from headway.images.errors import ImageChanged, ImageError, LabelTaken, NoImage
from headway.images.image import Manifest
from headway.images.source import Content

_LOCK: Final = ".lock"
_UNFINISHED: Final = ".unfinished-"
_LOCK_TIMEOUT: Final = 120.0
_LOCK_POLL: Final = 0.05


def publish(data_dir: Path, manifest: Manifest, contents: Mapping[str, Content]) -> str:
    """Write an image with a manifest and its files, and its label. Repeating it repairs a damaged image.

    Returns:
        its digest.

    Raises:
        ImageChanged: if the files do not match the manifest.
        LabelTaken: if the label refers to another image.
        ImageError: if it cannot be written.
    """
    found = {name: image.fingerprint(one.data, executable=one.executable) for name, one in contents.items()}
    if found != manifest.files:
        raise ImageChanged(f"files of {manifest.service} {manifest.version} changed while they were read")
    digest = manifest.digest
    place = image.folder(data_dir, digest)
    label = image.label_path(data_dir, manifest.service, manifest.version)
    with _locked(data_dir):
        check_label(data_dir, manifest)
        if not _whole(place, digest):
            _write(place, manifest, contents)
        label.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.create(label, f"{digest}\n".encode())
    return digest


def check_label(data_dir: Path, manifest: Manifest) -> None:
    """Check that a manifest's label is free or refers to the same image.

    Raises:
        LabelTaken: if it refers to another image.
    """
    try:
        known = image.resolve(data_dir, manifest.service, manifest.version)
    except NoImage:
        return
    if known != manifest.digest:
        raise LabelTaken(
            f"{manifest.service} {manifest.version} is another image ({known[:12]}, not {manifest.digest[:12]})",
            remedy=f"build it as the next version; or, if nothing uses {manifest.version}, "
            f"run `headway image rm {manifest.service} {manifest.version}` first",
        )


def copy(origin: Path, target: Path, digest: str) -> Manifest:
    """Copy an image unchanged from one data directory to another.

    Raises:
        NoImage, ImageChanged: if it is missing or damaged at its origin.
        NotSigned: as `signing.carry_over`.
        LabelTaken: if its label refers to another image at the target.
        ImageError: if it cannot be written.
    """
    root = image.folder(origin, digest)
    manifest = image.verify(root, digest)
    contents = {
        name: Content((root / image.SOURCE / name).read_bytes(), executable=file.executable)
        for name, file in manifest.files.items()
    }
    seal.check(root, digest)
    signing.carry_over(origin, target, digest)
    publish(target, manifest, contents)
    return image.verify(image.folder(target, digest), digest)


def remove(data_dir: Path, digest: str) -> None:
    """Remove an image and its labels. The caller has to make sure that nothing needs it."""
    with _locked(data_dir):
        for (service, version), known in image.labels(data_dir).items():
            if known == digest:
                image.label_path(data_dir, service, version).unlink()
        place = image.folder(data_dir, digest)
        if place.exists():
            _discard(place)
        for path in (seal.statement_path, seal.sbom_path):
            path(data_dir / image.IMAGES, digest).unlink(missing_ok=True)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the write lock of the images, after removing the remains of a crashed writer."""
    directory = data_dir / image.IMAGES
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_for(lock, directory)
            for left in directory.glob(f"{_UNFINISHED}*"):
                _delete(left)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise ImageError(
            f"the images in {directory} cannot be written: {error.strerror}", remedy="free space, or check the owner"
        ) from error


def _wait_for(lock: int, directory: Path) -> None:
    until = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise ImageError(f"another program writes to {directory}", remedy="find the one that hangs") from None
            time.sleep(_LOCK_POLL)
        else:
            return


def _whole(place: Path, digest: str) -> bool:
    if not place.exists():
        return False
    try:
        image.verify(place, digest)
    except ImageChanged:
        return False
    return True


def _write(place: Path, manifest: Manifest, contents: Mapping[str, Content]) -> None:
    temporary = place.with_name(f"{_UNFINISHED}{secrets.token_hex(4)}")
    try:
        source = temporary / image.SOURCE
        source.mkdir(mode=0o700, parents=True)
        for name, content in contents.items():
            path = source / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _file(path, content.data, 0o555 if content.executable else 0o444)
        _file(temporary / image.MANIFEST, manifest.canonical(), 0o444)
        for directory in [temporary, *(path for path in temporary.rglob("*") if path.is_dir())]:
            _sync(directory)
            if directory != temporary:  # a folder has to be writable to be renamed
                directory.chmod(0o555)
        if place.exists():
            _discard(place)
        temporary.rename(place)
        place.chmod(0o555)
        _sync(place.parent)
    except OSError:
        _delete(temporary)
        raise


def _file(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(place: Path) -> None:
    """Rename an image, so that it disappears in one step, and then delete it."""
    place.chmod(0o700)
    away = place.with_name(f"{_UNFINISHED}{secrets.token_hex(4)}")
    place.rename(away)
    _delete(away)


def _delete(tree: Path) -> None:
    """Delete a tree with read-only folders."""
    for at, folders, _ in os.walk(tree):
        Path(at).chmod(0o700)
        for name in folders:
            if not (Path(at) / name).is_symlink():
                (Path(at) / name).chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)
