"""The statement about an image: what it was built from, where and by which builder (in-toto, SLSA provenance)."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

import orjson

from headway.images.image import Manifest

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD: Final = "https://headway.dev/image/v1"
ADOPTED: Final = "https://headway.dev/adopted/v1"
"""Predicate of an image that its owner signed without having built it here."""


def built(manifest: Manifest, sbom: bytes) -> bytes:
    """Return the statement of the builder.

    Args:
        manifest: of the image.
        sbom: its bill of materials.
    """
    predicate = {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {"service": manifest.service, "version": manifest.version, "app": manifest.app},
            "internalParameters": {"config": _sha256(orjson.dumps(manifest.config, option=orjson.OPT_SORT_KEYS))},
            "resolvedDependencies": [
                {"name": "source", "digest": {"sha256": source_digest(manifest)}},
                {"name": "lock", "digest": {"sha256": lock_digest(manifest)}},
            ],
        },
        "runDetails": {
            "builder": {
                "id": f"{BUILD}/{os.uname().nodename}",
                "version": {"headway": metadata.version("headway"), "python": sys.version.split()[0]},
            },
            "metadata": {"finishedOn": datetime.now(UTC).isoformat(timespec="seconds")},
            "byproducts": [{"name": "sbom.cdx.json", "digest": {"sha256": _sha256(sbom)}}],
        },
    }
    return _statement(manifest, PREDICATE, predicate)


def adopted(manifest: Manifest, by: str) -> bytes:
    """Return the statement of somebody who trusts an image and did not build it.

    Args:
        manifest: of the image.
        by: the person, or the reason.
    """
    return _statement(manifest, ADOPTED, {"by": by, "on": datetime.now(UTC).isoformat(timespec="seconds")})


def source_digest(manifest: Manifest) -> str:
    """Return one digest of all source files."""
    files = {name: file.model_dump() for name, file in manifest.files.items()}
    return _sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS))


def lock_digest(manifest: Manifest) -> str:
    """Return one digest of the exact versions of all requirements."""
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(manifest.requirements.items()))
    return _sha256(lines.encode())


def _statement(manifest: Manifest, kind: str, predicate: dict[str, Any]) -> bytes:
    subject = {"name": f"{manifest.service}:{manifest.version}", "digest": {"sha256": manifest.digest}}
    said = {"_type": STATEMENT, "subject": [subject], "predicateType": kind, "predicate": predicate}
    return orjson.dumps(said)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
