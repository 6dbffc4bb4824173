"""The containers of workers, as the Docker Engine API describes them. Pure."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headway.images import seal
from headway.scaler.drivers.driver import ExitedWorker, Launch, RunningWorker
from headway.scaler.drivers.priority import SHARES

POOL: Final = "headway.pool"
WORKER: Final = "headway.worker"
SERVICE: Final = "headway.service"
VERSION: Final = "headway.version"
IMAGE: Final = "headway.image"
"""Label of a Docker image: the digest of its Headway image."""
EPOCH: Final = "headway.epoch"

GIVEN: Final = "/run/headway"
"""Where a container finds its configuration and credentials; its own volume, so that no secret is in its
environment.
"""
IMAGES: Final = "/images"
USER: Final = 10001
"""User and group of the images of the Dockerfile."""
_APP: Final = "/app"
_LAUNCH: Final = "launch.json"
_CONFIG: Final = "config.json"
_CREDS: Final = "worker.creds"
_CREDS_VARIABLE: Final = "HEADWAY_NATS_CREDS"
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}}
_SIGNALLED: Final = 128
_MOST_SIGNALS: Final = 64


def worker(launch: Launch, image: str, network: str, pool: str, name: str) -> dict[str, Any]:
    """Return the container of a worker."""
    config = _base(launch, image, network)
    config["Cmd"] = ["headway", *_command(launch, name)]
    config["Labels"] = {POOL: pool, WORKER: name, SERVICE: launch.service, VERSION: launch.version}
    return config


def probe(launch: Launch, image: str) -> dict[str, Any]:
    """Return the container that tries to import the service of a launch. It needs no network."""
    config = _base(launch, image, "none")
    config["Cmd"] = ["python3", "-m", "headway.scaler.drivers.docker.probe", f"{GIVEN}/{_LAUNCH}"]
    return config


def given(launch: Launch) -> bytes:
    """Pack configuration and credentials, for the container's user, as a tar for the volume `GIVEN`."""
    wanted = {
        "app": launch.app,
        "service": launch.service,
        "config": dict(launch.config),
        "image": _folder(launch),
    }
    files = {_LAUNCH: json.dumps(wanted).encode(), _CONFIG: json.dumps(dict(launch.config)).encode()}
    if creds := launch.environment.get(_CREDS_VARIABLE):
        files[_CREDS] = Path(creds).read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o400
            member.uid, member.gid = _user(launch)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def running(found: Mapping[str, Any]) -> RunningWorker:
    """Return the worker of a listed container. Its process id has no meaning outside the daemon's machine."""
    labels = found["Labels"]
    return RunningWorker(labels[WORKER], labels[SERVICE], labels[VERSION], float(found["Created"]))


def exited(labels: Mapping[str, str], code: int, said: Sequence[str]) -> ExitedWorker:
    """Return how a worker ended. Docker reports signals as shells do."""
    signalled = _SIGNALLED < code <= _SIGNALLED + _MOST_SIGNALS
    return ExitedWorker(
        labels[WORKER], labels[SERVICE], labels[VERSION], _SIGNALLED - code if signalled else code, tuple(said)
    )


def _base(launch: Launch, image: str, network: str) -> dict[str, Any]:
    environment = {**launch.environment, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if _CREDS_VARIABLE in environment:
        environment[_CREDS_VARIABLE] = f"{GIVEN}/{_CREDS}"
    if launch.image is not None:  # a container does not see the data directory
        environment[seal.TRUSTED_VARIABLE] = seal.accepted_here(Path(launch.root))
    uid, gid = _user(launch)
    return {
        "Image": image,
        "Entrypoint": [],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": f"{uid}:{gid}",
        "WorkingDir": _APP,
        "HostConfig": {
            "NetworkMode": network,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,  # a signal that arrives before Python installs its handlers must not be lost
            "Tmpfs": {"/tmp": "mode=1777"},  # noqa: S108  # noqa: S108  # a path inside the container
            "Binds": [] if launch.image else [f"{launch.root}:{_APP}:ro"],
            "Mounts": [{"Type": "volume", "Target": GIVEN}],
            "LogConfig": _LOG,
            "CpuShares": SHARES[launch.priority],
        },
    }


def _command(launch: Launch, name: str) -> list[str]:
    common = ["--name", name, *([] if launch.grace is None else ["--grace", str(launch.grace)])]
    if folder := _folder(launch):
        return ["worker", "--image", folder, *common]
    return ["worker", launch.app, "--version", launch.version, "--config", f"{GIVEN}/{_CONFIG}", *common]


def _folder(launch: Launch) -> str | None:
    return None if launch.image is None else f"{IMAGES}/sha256-{launch.image}"


def _user(launch: Launch) -> tuple[int, int]:
    """Return user and group: the owner of a working tree, or the one of Headway's images."""
    return (USER, USER) if launch.image else (os.getuid(), os.getgid())
