"""The control record of a version that runs from its image."""

from __future__ import annotations

from pathlib import Path

from headway.control.records import Priority, VersionRecord
from headway.images import image


def version_of(
    data_dir: Path,
    service: str,
    version: str,
    *,
    pool: str = "",
    grace: float | None = None,
    priority: Priority = "high",
) -> VersionRecord:
    """Return the record of a version from its image's manifest, without traffic yet.

    Args:
        data_dir: where images are kept.
        service: name of the service.
        version: its label.
        pool: where its workers run.
        grace: seconds to finish work in progress when a worker is stopped; None allows as long as its jobs may take.
        priority: "low" yields the processor of its machine to "high".

    Raises:
        NoImage: if there is no image under this label.
        ImageChanged: if its manifest cannot be read. Its files are only verified when a worker is started.
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
        priority=priority,
    )
