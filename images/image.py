"""Images: one version of a service, frozen. What it is, where it lies, and whether it is still what was built.

    <data dir>/images/sha256-<digest>/manifest.json     what the image is made of; its SHA-256 is the digest
                                     /src/...           what the service is imported from
    <data dir>/images/labels/<service>/<version>        the digest that a version label stands for

All of it is read-only. images/build.py builds them, the drivers of the scaler start workers from them.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headway.bus.wire.subjects import token
from headway.images.errors import ImageChanged, NoImage, WrongRequirements

IMAGES: Final = "images"
LABELS: Final = "labels"
MANIFEST: Final = "manifest.json"
SOURCE: Final = "src"

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FOLDER: Final = re.compile(r"sha256-([0-9a-f]{64})")
_TOLD: Final = 5
"""Problems that an error names; the others are counted."""
_FORM: Final = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Part):
    """One file of an image. Of its mode only this counts; everything else depends on who wrote it."""

    sha256: str
    size: int
    executable: bool = False


class Schemas(_Part):
    """What a handler takes and gives, as JSON schemas that stand alone."""

    input: dict[str, Any]
    output: dict[str, Any]


class Manifest(_Part):
    """What an image is made of.

    Attributes:
        service: the name in subjects.
        version: the label that it was built as.
        app: `module:variable`, importable from `src`.
        config: the frozen configuration, as given.
        python: such as "3.11"; another one does not start it.
        headway: version of Headway that it was built with; a later one starts it too.
        requirements: installed distributions that the source imports and those they need, with their versions.
        files: by their path below `src`, with "/" between its parts.
        schemas: by handler: "rpc.status", "job.send", "on.call.ended".
    """

    format: Literal[1] = 1
    service: str
    version: str
    app: str
    config: dict[str, Any]
    python: str
    headway: str
    requirements: dict[str, str]
    files: dict[str, File]
    schemas: dict[str, Schemas]

    def canonical(self) -> bytes:
        """Return the canonical form in which the manifest is written."""
        return orjson.dumps(self.model_dump(mode="json"), option=_FORM)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hex: it covers every byte of every file."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files.values())


def folder(data_dir: Path, digest: str) -> Path:
    """Where an image lies, whether it is there or not.

    Raises:
        NoImage: if that is no digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise NoImage(f"{digest!r} is no digest of an image", remedy="give the 64 hex digits of `headway image ls`")
    return data_dir / IMAGES / f"sha256-{digest}"


def digest_of(root: Path) -> str:
    """Return the digest that names an image's folder.

    Raises:
        NoImage: if it is named otherwise.
    """
    found = _FOLDER.fullmatch(root.name)
    if found is None:
        raise NoImage(f"{root} is no folder of an image", remedy="it is named sha256-<digest>, as it was built")
    return found[1]


def resolve(data_dir: Path, service: str, version: str) -> str:
    """Return the digest that a version label stands for.

    Raises:
        NoImage: if there is no such label.
        InvalidSubject: if service or version break the grammar.
    """
    path = label_path(data_dir, service, version)
    try:
        found = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        raise NoImage(f"there is no image of {service} {version}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ImageChanged(f"the label {path} cannot be read: {error}") from error
    if not _DIGEST.fullmatch(found):
        raise ImageChanged(f"the label {path} names no digest")
    return found


def label_path(data_dir: Path, service: str, version: str) -> Path:
    """Return the file of a version label. Raises `InvalidSubject` if service or version break the grammar."""
    return data_dir / IMAGES / LABELS / token(service, "service") / token(version, "version")


def labels(data_dir: Path) -> dict[tuple[str, str], str]:
    """All version labels with their digests, sorted."""
    found = sorted((data_dir / IMAGES / LABELS).glob("[!.]*/[!.]*"))
    return {(path.parent.name, path.name): resolve(data_dir, path.parent.name, path.name) for path in found}


def digests(data_dir: Path) -> list[str]:
    """Return the digests of all stored images, labelled or not."""
    names = [path.name for path in (data_dir / IMAGES).glob("sha256-*")]
    return sorted(match[1] for name in names if (match := _FOLDER.fullmatch(name)))


def read(root: Path) -> Manifest:
    """Return the manifest of the image in `root`, without checking its files.

    Raises:
        NoImage: if there is none.
        ImageChanged: if it cannot be read.
    """
    return _parse(root, _manifest(root))


def verify(root: Path, digest: str) -> Manifest:
    """Read every byte of the image in `root`, and compare it with its digest.

    Raises:
        NoImage: if there is none.
        ImageChanged: naming the files that were changed, added or removed.
    """
    raw = _manifest(root)
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ImageChanged(f"{root / MANIFEST} is not that of the image {digest[:12]}")
    manifest = _parse(root, raw)
    problems = list(_problems(root, manifest))
    if problems:
        more = f", and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        what = f"the image of {manifest.service} {manifest.version} ({digest[:12]})"
        raise ImageChanged(f"{what} is not what was built: {', '.join(problems[:_TOLD])}{more}")
    return manifest


def verify_source(source: Path, digest: str, *, service: str, app: str, config: Mapping[str, Any]) -> Manifest:
    """`verify`, for who is about to run `app` from the image's source with a configuration.

    Raises:
        NoImage, ImageChanged: as `verify`; also if the image says something else than that.
    """
    manifest = verify(source.parent, digest)
    if source.name != SOURCE or (manifest.service, manifest.app, manifest.config) != (service, app, dict(config)):
        raise ImageChanged(
            f"{service} is to run with another root, app or configuration than its image {digest[:12]} has",
            remedy="write them as the manifest has them; another configuration is another version",
        )
    return manifest


def check_environment(manifest: Manifest) -> None:
    """Compare an image's requirements with what is installed here.

    Raises:
        WrongRequirements: naming each that is missing or of another version.
    """
    what = f"the image of {manifest.service} {manifest.version}"
    here = python_version()
    if manifest.python != here:
        raise WrongRequirements(
            f"{what} was built for Python {manifest.python}, here runs {here}",
            remedy=f"start it with Python {manifest.python}, or build a new version here",
        )
    wrong, pins = [], []
    for name, version in manifest.requirements.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = ""
        if installed != version:
            wrong.append(f"{name} {version} ({installed or 'nothing'} is installed)")
            pins.append(f"{name}=={version}")
    if wrong:
        raise WrongRequirements(
            f"{what} needs {', '.join(wrong)}",
            remedy=f"pip install {' '.join(pins)}, or build a new version here",
        )


def python_version() -> str:
    """Return the running Python, as a manifest names it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _manifest(root: Path) -> bytes:
    try:
        return (root / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NoImage(f"there is no image in {root}") from None
    except OSError as error:
        raise ImageChanged(f"{root / MANIFEST} cannot be read: {error.strerror}") from error


def _parse(root: Path, raw: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ImageChanged(f"{root / MANIFEST} is no manifest this Headway knows: {where}: {first['msg']}") from error
    if manifest.canonical() != raw:
        raise ImageChanged(f"{root / MANIFEST} is not written as an image's manifest is")
    return manifest


def _problems(root: Path, manifest: Manifest) -> Iterator[str]:
    """Return what differs from the manifest."""
    try:
        beside = {entry.name for entry in os.scandir(root)} - {MANIFEST, SOURCE}
        yield from (f"{name} was added" for name in sorted(beside))
        parents = {str(parent) for name in manifest.files for parent in Path(name).parents}
        seen = set()
        for name, entry in _walk(root / SOURCE, ""):
            wanted = manifest.files.get(name)
            if entry.is_dir(follow_symlinks=False):
                if name not in parents:
                    yield f"{name}/ was added"
            elif wanted is None:
                yield f"{name} was added"
            else:
                seen.add(name)
                if _fingerprint(entry.path, wanted) != wanted:
                    yield f"{name} was changed"
        yield from (f"{name} is missing" for name in manifest.files if name not in seen)
    except OSError as error:
        yield f"{error.filename} cannot be read: {error.strerror}"


def _walk(directory: Path | str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a directory with its relative path, in the order of names; links are not followed."""
    for entry in sorted(os.scandir(directory), key=lambda one: one.name):
        name = f"{prefix}{entry.name}"
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{name}/")


def _fingerprint(path: str, wanted: File) -> File | None:
    """Return a file's entry; None if it is no regular file or has another size."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != wanted.size:
        return None
    return fingerprint(Path(path).read_bytes(), executable=bool(status.st_mode & 0o111))


def fingerprint(data: bytes, *, executable: bool) -> File:
    """Return a file's entry in a manifest."""
    return File(sha256=hashlib.sha256(data).hexdigest(), size=len(data), executable=executable)
