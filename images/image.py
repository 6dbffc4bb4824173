"""Images, the frozen form of a service's version: their manifest, their location, and their verification.

    <data dir>/images/sha256-<digest>/manifest.json     the image's content; its SHA-256 is the digest
                                     /src/...           the files that the service is imported from
    <data dir>/images/labels/<service>/<version>        the digest that a version label refers to

All of it is read-only. images/build.py builds images, the drivers of the scaler start workers from them.
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
"""Maximum number of problems that an error lists; the others are counted."""
_FORM: Final = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Part):
    """One file of an image. Of its mode only the executable bit counts; the rest depends on who wrote it."""

    sha256: str
    size: int
    executable: bool = False


class Schemas(_Part):
    """A handler's input and output as self-contained JSON schemas."""

    input: dict[str, Any]
    output: dict[str, Any]


class Manifest(_Part):
    """The content of an image.

    Attributes:
        service: the service's name in subjects.
        version: the label that it was built with.
        app: `module:variable`, importable from `src`.
        config: the frozen configuration, as given.
        python: Python version such as "3.11"; other versions do not start it.
        headway: version of Headway that it was built with; later ones start it, too.
        requirements: versions of the distributions that the source imports, and of their dependencies.
        files: files by their path below `src`, with "/" as separator.
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
        """Return the manifest in the canonical form in which it is written."""
        return orjson.dumps(self.model_dump(mode="json"), option=_FORM)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form in hex, which covers every byte of every file."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def size(self) -> int:
        """Total size of all files in bytes."""
        return sum(one.size for one in self.files.values())


def folder(data_dir: Path, digest: str) -> Path:
    """Return the folder of an image, which may not exist.

    Raises:
        NoImage: if the digest is malformed.
    """
    if not _DIGEST.fullmatch(digest):
        raise NoImage(
            f"{digest!r} is not an image's digest", remedy="give the 64 hex digits that `headway image ls` shows"
        )
    return data_dir / IMAGES / f"sha256-{digest}"


def digest_of(root: Path) -> str:
    """Return the digest in the name of an image's folder.

    Raises:
        NoImage: if the folder has another name.
    """
    found = _FOLDER.fullmatch(root.name)
    if found is None:
        raise NoImage(f"{root} is not the folder of an image", remedy="give a folder named sha256-<digest>")
    return found[1]


def resolve(data_dir: Path, service: str, version: str) -> str:
    """Return the digest that a version label refers to.

    Raises:
        NoImage: if there is no such label.
        ImageChanged: if the label cannot be read.
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
        raise ImageChanged(f"the label {path} contains no digest")
    return found


def label_path(data_dir: Path, service: str, version: str) -> Path:
    """Return the file of a version label. Raises `InvalidSubject` if service or version break the grammar."""
    return data_dir / IMAGES / LABELS / token(service, "service") / token(version, "version")


def labels(data_dir: Path) -> dict[tuple[str, str], str]:
    """Return all version labels with their digests, sorted."""
    found = sorted((data_dir / IMAGES / LABELS).glob("[!.]*/[!.]*"))
    return {(path.parent.name, path.name): resolve(data_dir, path.parent.name, path.name) for path in found}


def digests(data_dir: Path) -> list[str]:
    """Return the digests of all stored images, with or without labels."""
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
    """Compare every byte of the image in `root` with its digest.

    Raises:
        NoImage: if there is none.
        ImageChanged: if files were changed, added or removed; names them.
    """
    raw = _manifest(root)
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ImageChanged(f"{root / MANIFEST} does not belong to image {digest[:12]}")
    manifest = _parse(root, raw)
    problems = list(_problems(root, manifest))
    if problems:
        more = f", and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        what = f"the image of {manifest.service} {manifest.version} ({digest[:12]})"
        raise ImageChanged(f"{what} is not what was built: {', '.join(problems[:_TOLD])}{more}")
    return manifest


def verify_source(source: Path, digest: str, *, service: str, app: str, config: Mapping[str, Any]) -> Manifest:
    """Verify an image before running `app` from its source with a configuration.

    Raises:
        NoImage, ImageChanged: as `verify`; also if service, app or configuration differ from the manifest.
    """
    manifest = verify(source.parent, digest)
    if source.name != SOURCE or (manifest.service, manifest.app, manifest.config) != (service, app, dict(config)):
        raise ImageChanged(
            f"root, app or configuration of {service} differ from its image {digest[:12]}",
            remedy="use the values of the manifest; another configuration is another version",
        )
    return manifest


def check_environment(manifest: Manifest) -> None:
    """Compare an image's requirements with the installed distributions.

    Raises:
        WrongRequirements: if some are missing or have another version; names them.
    """
    what = f"the image of {manifest.service} {manifest.version}"
    here = python_version()
    if manifest.python != here:
        raise WrongRequirements(
            f"{what} was built for Python {manifest.python}, this is {here}",
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
    """Return the running Python version in the manifest's form."""
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
        raise ImageChanged(f"{root / MANIFEST} is not a valid manifest: {where}: {first['msg']}") from error
    if manifest.canonical() != raw:
        raise ImageChanged(f"{root / MANIFEST} is not in canonical form")
    return manifest


def _problems(root: Path, manifest: Manifest) -> Iterator[str]:
    """Yield the differences from the manifest."""
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
    """Yield all entries below a directory with their relative paths, sorted by name, without following links."""
    for entry in sorted(os.scandir(directory), key=lambda one: one.name):
        name = f"{prefix}{entry.name}"
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{name}/")


def _fingerprint(path: str, wanted: File) -> File | None:
    """Return a file's entry in a manifest; None if it is not a regular file or has another size."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != wanted.size:
        return None
    return fingerprint(Path(path).read_bytes(), executable=bool(status.st_mode & 0o111))


def fingerprint(data: bytes, *, executable: bool) -> File:
    """Return a file's entry in a manifest."""
    return File(sha256=hashlib.sha256(data).hexdigest(), size=len(data), executable=executable)
