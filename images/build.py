"""Build an image from a folder of a working tree (`headway image build`).

    built = build(Path("services/fax"), version="v2", data_dir=Path(".headway"), config={"speed": 100})

Before anything is published, a separate process imports the service from its snapshot only. So every image can be
imported. The same input gives the same digest on every machine and at any time.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import orjson

from headway.bus.errors import ConfigError
from headway.bus.wire.subjects import token
from headway.images import image, imports, requirements, signing, source, store
from headway.images.errors import BuildFailed
from headway.images.image import Manifest
from headway.images.seal import Sealer
from headway.images.source import Place, SourceFiles

IMPORT_TIMEOUT: Final = 60.0
"""Maximum seconds for importing the service."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built. `existed` says that the same image existed before."""

    digest: str
    manifest: Manifest
    existed: bool


def build(
    path: Path,
    *,
    version: str,
    data_dir: Path,
    config: Mapping[str, Any] | None = None,
    app: str | None = None,
    sealer: Sealer | None = None,
) -> Built:
    """Build an image of a service and publish it under its label.

    Args:
        path: the service's folder, or its only file.
        version: the label, which permanently refers to this image.
        data_dir: the data directory with the images.
        config: the version's configuration, validated by the service's model.
        app: `module:variable`, if the folder has no service or several.
        sealer: signs the image; by default the environment's own key.

    Raises:
        BuildFailed: if the source is not a service that can be imported on its own.
        ConfigError: if the configuration does not validate.
        LabelTaken: if the label refers to another image.
        ImageError: if the image cannot be written.
    """
    token(version, "version")
    manifest, gathered = snapshot(path, version=version, config=config, app=app)
    existed = manifest.digest in image.digests(data_dir)
    sealer = sealer or signing.own(data_dir)
    digest = store.publish(data_dir, manifest, gathered.files)
    signing.sign_built(data_dir, manifest, sealer)
    return Built(digest, manifest, existed)


def snapshot(
    path: Path, *, version: str, config: Mapping[str, Any] | None = None, app: str | None = None
) -> tuple[Manifest, SourceFiles]:
    """Return manifest and files of the image that `build` would publish."""
    config = dict(config or {})
    if source.holds_key(orjson.dumps(config)):
        raise BuildFailed("the configuration contains a secret key", remedy="pass it to workers in their environment")
    place = source.locate(path, app)
    gathered = source.gather(place)
    files = {
        name: image.fingerprint(content.data, executable=content.executable)
        for name, content in sorted(gathered.files.items())
    }
    with tempfile.TemporaryDirectory(prefix="headway-image-", ignore_cleanup_errors=True) as directory:
        _write(gathered, Path(directory))
        ask = {name: file.model_dump() for name, file in files.items()}
        found = _probe({"source": directory, "files": ask, "module": place.module, "app": app, "config": config})
        # Modules whose names are computed at run time are not found in the code, but they were loaded.
        external = gathered.external | source.imported(_at(place, Path(directory)), found["loaded"])
    manifest = Manifest(
        service=found["service"],
        version=version,
        app=found["app"],
        config=config,
        python=image.python_version(),
        headway=metadata.version("headway"),
        requirements=requirements.lock(external),
        files=files,
        schemas=found["schemas"],
    )
    return manifest, gathered


def _write(gathered: SourceFiles, directory: Path) -> None:
    try:
        for name, content in gathered.files.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.data)
    except OSError as error:
        raise BuildFailed(f"{error.filename} cannot be written: {error.strerror}", remedy="free disk space") from error


def _at(place: Place, root: Path) -> Place:
    """Return the corresponding place in a copy of the source."""
    return Place(root, place.module, root / place.path.relative_to(place.root))


def _probe(ask: dict[str, Any]) -> dict[str, Any]:
    """Import the service in a separate process (images/probe.py)."""
    python, environment = imports.isolated()
    try:
        done = subprocess.run(  # noqa: S603
            [*python, "-m", "headway.images.probe"],
            env={**environment, "PYTHONHASHSEED": "0"},  # the order of sets must not affect schemas
            input=orjson.dumps(ask),
            capture_output=True,
            timeout=IMPORT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(
            f"{ask['module']} was not imported within {IMPORT_TIMEOUT:g} s", remedy="import it by hand to see why"
        ) from None
    try:
        found: dict[str, Any] = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        said = " / ".join(done.stderr.decode(errors="replace").splitlines()[-5:]) or f"exit code {done.returncode}"
        raise BuildFailed(f"{ask['module']} cannot be imported: {said}", remedy="fix it and build again") from None
    if "code" in found:
        kind = ConfigError if found["code"] == ConfigError.code else BuildFailed
        what = found["message"].replace(ask["source"], "the image")
        raise kind(what, remedy=found["remedy"].replace(ask["source"], "the image"))
    return found
