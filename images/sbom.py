"""The bill of materials of an image: a CycloneDX 1.6 document. The same image gives the same document."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from headway.images.image import Manifest


def document(manifest: Manifest) -> bytes:
    """Return the document: the service, and each distribution that it runs with."""
    reference = f"headway:{manifest.service}@{manifest.version}"
    parts = [
        _library("headway", manifest.headway),
        *(_library(name, version) for name, version in sorted(manifest.requirements.items()) if name != "headway"),
    ]
    service: dict[str, Any] = {
        "type": "application",
        "bom-ref": reference,
        "name": manifest.service,
        "version": manifest.version,
        "hashes": [{"alg": "SHA-256", "content": manifest.digest}],
    }
    said = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(manifest.digest[:32])}",
        "version": 1,
        "metadata": {"component": service},
        "components": parts,
        "dependencies": [{"ref": reference, "dependsOn": [one["bom-ref"] for one in parts]}],
    }
    return orjson.dumps(said, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _library(name: str, version: str) -> dict[str, Any]:
    place = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": place, "name": name, "version": version, "purl": place}
