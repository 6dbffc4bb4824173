"""Where workers run on this machine: the run directory, the pool, and their launches."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headway.broker.broker import Broker
from headway.bus.wire import subjects
from headway.control.records import VersionRecord
from headway.scaler.drivers.driver import Launch

POOL: Final = "HEADWAY_POOL"
"""Environment variable with the name of the pool."""


def run_dir(store: Path) -> Path:
    """Return the run directory of a data directory."""
    return store / "run"


def pool_of(store: Path) -> str:
    """Return the pool of the workers of a data directory: shared by all its scalers, and only by these.

    HEADWAY_POOL overrides it, for containers that share a directory and have different host names.
    """
    if named := os.environ.get(POOL):
        return subjects.token(named, "pool")
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:40] or "host"
    path = hashlib.sha256(os.fsencode(run_dir(store).resolve())).hexdigest()[:8]
    return f"{host}-{path}"


def launcher(broker: Broker) -> Callable[[VersionRecord], Launch]:
    """Return a function that makes the launch of a version. With keys, its workers get their own credentials."""
    files: dict[str, Path] = {}

    def launch(version: VersionRecord) -> Launch:
        environment = {"HEADWAY_NATS_URL": broker.url, "PYTHONUNBUFFERED": "1"}
        if broker.data_dir is not None:
            if version.service not in files:
                files[version.service] = broker.identities.creds_file("worker", service=version.service).resolve()
            environment["HEADWAY_NATS_CREDS"] = str(files[version.service])
        return Launch(
            service=version.service,
            version=version.version,
            app=version.app,
            root=version.root,
            config=version.config,
            environment=environment,
            grace=version.grace,
            image=version.image,
            revision=version.revision,
            priority=version.priority,
        )

    return launch
