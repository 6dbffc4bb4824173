"""The control record of a version that is run from its image."""

from __future__ import annotations

from pathlib import Path

from headway.control.records import VersionRecord
from headway.images import image


def version_of(
    data_dir: Path, service: str, version: str, *, pool: str = "", grace: float | None = None
) -> VersionRecord:
    """What a worker of this version is started from: all of it as the image's manifest has it, no traffic yet.

    Args:
        data_dir: where images are kept.
        service: whose version it is.
        version: its label.
        pool: where its workers run.
        grace: seconds that work in hand has to finish when a worker is stopped; None for as long as its jobs may take.

    Raises:
        NoImage: if there is no image under this label.
        ImageChanged: if its manifest cannot be read. Its files are not looked at: who starts a worker does.
    """
    digest = image.resolve(data_dir, service, version)
    place = image.folder(data_dir.absolute(), digest)
    manifest = image.read(place)
    return VersionRecord(
        service=manifest.service,
        version=manifest.version,
        app=manifest.app,
        root=str(place / image.SOURCE),
        config=manifest.config,
        image=digest,
        pool=pool,
        grace=grace,
    )
