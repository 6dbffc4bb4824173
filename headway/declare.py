"""Applies a configuration: `headway up` to its own server, `headway apply` to servers elsewhere."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from headway.broker.broker import Broker
from headway.bus.client.bus import Bus
from headway.bus.errors import UsageError
from headway.bus.handlers import Kind
from headway.bus.nats import jsapi, streams
from headway.bus.service import Service
from headway.bus.worker import queues
from headway.bus.worker.runner import load
from headway.config import Config, ServiceConfig
from headway.control.records import Priority, ServiceRecord, VersionRecord
from headway.control.store import Control, keys_of, service_key, version_key
from headway.deployer import bounds
from headway.ownership import owned
from headway.place import pool_of
from headway.scaler.drivers.process.follow import Say

GIB: Final = 1 << 30
WORKING_TREE: Final = "dev"
"""Version of a working tree whose configured version was released from an image."""
ROOM_SHARE: Final = 0.75
"""Share of the free disk that nats-server gives to streams by default."""


def check(config: Config) -> dict[str, Service]:
    """Check that all services load and accept their configuration, before anything is started.

    Raises:
    UsageError, ConfigError: if one does not.
    """
    services = {}
    for name, wanted in config.services.items():
        service = services[name] = load(wanted.app)
        if service.name != name:
            raise UsageError(
                f"{wanted.app} is service {service.name!r}, not {name!r}", remedy=f"list it under {service.name!r}"
            )
        service.configure(wanted.config)
    return services


async def declare(
    config: Config, services: Mapping[str, Service], broker: Broker, bus: Bus, *, grace: float | None, say: Say
) -> None:
    """Write the desired state: records, queues and routes. From then on jobs are stored, even before a worker serves.

    A service that was deployed in another version since keeps that version.

    Args:
        config: the configuration.
        services: the result of `check`.
        broker: the server. If it belongs to this installation alone, services missing in the configuration are
            stopped.
        bus: a connection to it in the role operator or control.
        grace: seconds to finish work in progress when a worker is stopped, for services without their own; None
            allows as long as their jobs may take.
        say: receives what could not be applied.
    """
    control = Control(bus)
    await control.refresh()
    for service in services.values():
        await _service(control, config, service, bus, grace=grace, say=say)
    if broker.server is not None:
        others = control.services.keys() - services.keys()
        for name in others - await owned(control, others):
            await suspend(control, name)
    await _route(control, config, broker, say)
    if broker.server is not None:
        await _tell_room(bus, broker.server.config.store, say)


async def redeclare(config: Config, service: Service, bus: Bus, revision: str, say: Say) -> None:
    """Declare another revision of a service's working tree, so that its workers are replaced by workers of it.

    Args:
        config: the configuration.
        service: the service, as it is now.
        bus: a connection in the role operator or control.
        revision: names the edit.
        say: receives what could not be applied.
    """
    control = Control(bus)
    await control.refresh()
    await _service(control, config, service, bus, grace=None, say=say, revision=revision)


async def _tell_room(bus: Bus, store: Path, say: Say) -> None:
    """Report if all streams together may hold more than the disk has room for."""
    streams, _ = await jsapi.listed(bus.nc, "STREAM.LIST", "streams")
    allowed = sum(bounds.allowed(stream["config"]) for stream in streams)
    used = sum(stream["state"]["bytes"] for stream in streams)
    room = used + await asyncio.to_thread(lambda: shutil.disk_usage(store).free * ROOM_SHARE)
    if allowed > room:
        what = (
            f"{len(streams)} streams may hold {allowed / GIB:.0f} GiB together, the disk has room for {room / GIB:.0f}"
        )
        say("store", f"{what} GiB: when it is full, publishers of all services are refused (queue_bytes lowers it)")


async def suspend(control: Control, name: str) -> None:
    """Suspend a service: it runs no workers."""
    await control.change(service_key(name), ServiceRecord, lambda record: record.model_copy(update={"suspended": True}))


async def _service(
    control: Control,
    config: Config,
    service: Service,
    bus: Bus,
    *,
    grace: float | None,
    say: Say,
    revision: str = "",
) -> None:
    name = service.name
    wanted = config.services[name]
    record = ServiceRecord(service=name, scale=wanted.scaling, calls=bool(service.handlers_of(Kind.RPC)))
    damaged = [key for key, known in keys_of(name, control.unreadable).items() if known.family != "scale"]
    if damaged:  # whether a release of it is in progress is unknown, so nothing is changed
        say(name, f"stays as it is: {damaged[0]} cannot be read (headway records mend {damaged[0]})")
        return
    known = {v: one for (of, v), one in control.versions.items() if of == name}
    await control.put(service_key(name), record)
    deployed = [v for v, one in known.items() if one.image and one.weight and one.phase == "live"]
    if deployed:
        say(name, f"{' and '.join(deployed)} was deployed and stays; the file's {wanted.version} is not")
        return
    label, said = working_tree_label(wanted.version, known)
    if said is not None:
        say(name, said)
    wanted = wanted.model_copy(update={"version": label})
    for other in known.keys() - {wanted.version}:
        if known[other].phase != "retired":
            retired = known[other].model_copy(update={"phase": "retired", "weight": 0})
            await control.put(version_key(name, other), retired)
    await queues.declare(bus.js, service, wanted.version)
    if service.handlers_of(Kind.JOB):
        await weigh(bus, name, {tenant: one.weight for tenant, one in config.tenants.items()})
    await control.put(version_key(name, wanted.version), _version(config, service, wanted, grace, revision))


def working_tree_label(wanted: str, known: Mapping[str, VersionRecord]) -> tuple[str, str | None]:
    """Return the version that a working tree runs as, and what to say if it is not the wanted one.

    A version that was released from an image stays what it was, so that a rollback leads to what ran.

    Args:
        wanted: the configured version.
        known: the records of the service's versions.

    Raises:
        UsageError: if `dev` was released from an image, too.
    """
    if wanted not in known or known[wanted].image is None:
        return wanted, None
    if WORKING_TREE in known and known[WORKING_TREE].image is not None:
        message = f"{wanted} and {WORKING_TREE} were released from images, and stay what they were"
        raise UsageError(message, remedy="give the working tree another `version`")
    said = f"{wanted} was released from an image and stays what it was: the working tree is {WORKING_TREE}"
    return WORKING_TREE, said


async def weigh(bus: Bus, service: str, weights: Mapping[str, float]) -> None:
    """Write the weights of tenants where workers read them: beside the queue of the service.

    They hold until they are written again, and workers follow within a second.
    """
    stream = streams.jobs_stream(service)
    found = (await jsapi.request(bus.nc, f"STREAM.INFO.{stream}"))["config"]
    metadata = dict(found.get("metadata") or {})
    if streams.weights(metadata) == weights:
        return
    metadata[streams.WEIGHTS] = orjson.dumps(dict(weights)).decode()
    await jsapi.request(bus.nc, f"STREAM.UPDATE.{stream}", {**found, "metadata": metadata})


def _version(
    config: Config, service: Service, wanted: ServiceConfig, grace: float | None, revision: str = ""
) -> VersionRecord:
    return VersionRecord(
        service=service.name,
        version=wanted.version,
        app=wanted.app,
        root=str(Path.cwd()),
        pool=pool_of(Path(config.server.store)),
        config=wanted.config,
        revision=revision,
        weight=100,
        grace=grace if wanted.grace is None else wanted.grace,
        priority=wanted.priority or _priority(service),
    )


def _priority(service: Service) -> Priority:
    """Return the priority of a service that has none of its own: calls go before jobs and events."""
    return "low" if service.handlers_of(Kind.JOB) or service.handlers_of(Kind.EVENT) else "high"


async def _route(control: Control, config: Config, broker: Broker, say: Say) -> None:
    """Send all traffic of the configured services to their versions."""
    await control.refresh()
    wanted = {name: _weights(control, name) for name in config.services}
    if broker.data_dir is None:
        say("routes", f"stay as they are: the keys of {broker.url} are not in this data directory")
    elif broker.server is None:
        await broker.set_routes({**await broker.routes(), **wanted})  # other services are served there, too
    else:
        others = await owned(control, control.services.keys() - wanted.keys())  # they joined this server, and still run
        await broker.set_routes({**{name: shares for name in others if (shares := _weights(control, name))}, **wanted})


def _weights(control: Control, service: str) -> dict[str, int]:
    """Return the traffic shares for a service's versions."""
    return {v: one.weight for (of, v), one in control.versions.items() if of == service and one.weight}
