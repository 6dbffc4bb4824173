"""An image to test with."""

from __future__ import annotations

from headway.images import image
from headway.images.image import Manifest
from headway.images.source import Content

FILES = {
    "app/__init__.py": Content(b"app = 1\n"),
    "app/data/table.csv": Content(b"a;b\n"),
    "app/run.sh": Content(b"#!/bin/sh\n", executable=True),
}


def manifest(files=FILES, **changed) -> Manifest:
    facts = {
        "service": "app",
        "version": "v1",
        "app": "app:app",
        "config": {"speed": 1, "names": ["x"]},
        "python": image.python_version(),
        "headway": "0.1.0",
        "requirements": {},
        "files": {name: image.fingerprint(one.data, executable=one.executable) for name, one in files.items()},
        "schemas": {},
    }
    return Manifest.model_validate({**facts, **changed})


def rewrite(path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
