"""Turns a snapshot into the rows that the page shows. Pure.

Numbers are rounded to visible differences, so that an idle installation changes no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import floor, log10
from typing import Any, Final

from pydantic import BaseModel

from headway.bus.client.dead import DeadLetter
from headway.console.meter import WINDOW, Flow
from headway.console.rows import (
    DeadRow,
    DecisionRow,
    InstallationRow,
    LeaseRow,
    ScalingRow,
    ServerRow,
    ServiceRow,
    State,
    VersionRow,
    WorkerRow,
)
from headway.console.snapshot import FleetSnapshot, WorkerView
from headway.control.fleet import SILENCE
from headway.control.records import ScaleRecord, ServiceRecord
from headway.control.store import keys_of
from headway.format import counted
from headway.status import StatusRow

PREVIEW: Final = 600
"""Characters of a dead letter's payload that are shown."""
DECISIONS: Final = 40
HISTORY: Final = 40
"""Transitions of a rollout."""
WORKERS: Final = 1000
LONG: Final = 10.0
"""Seconds that a job may wait before its service is called busy."""
FAILING: Final = 0.05
"""Share of failures up to which a service is well, whatever is usual."""
FACTOR: Final = 3.0
"""How many times as many failures as usual are a problem."""
FEW: Final = 3
"""Failures within the window that may be chance."""
RECENT: Final = 300.0
"""Seconds for which a dead letter is new."""
GONE: Final = 30.0
"""Seconds of silence after which a worker has been replaced."""
STUCK: Final = 60.0
"""Seconds of waiting, with nothing finished, after which a queue is stuck."""
CROWDED: Final = 0.8
"""Share of the consumer's limit of unfinished messages above which its service counts as busy."""
LATE: Final = 0.5
"""Seconds by which an event loop may be late."""

Name = tuple[str, str]
"""Type and id of a row."""


def project(snapshot: FleetSnapshot) -> dict[Name, dict[str, Any]]:
    """Return the rows, by type and id."""
    rows = {("service", row.name): row for row in _services(snapshot)}
    found: dict[Name, BaseModel] = {
        **rows,
        **{("worker", heard.beat.worker): _worker(heard) for heard in snapshot.workers[:WORKERS]},
        **{("scaling", name): row for name, row in _scalings(snapshot.scales)},
        **{
            ("rollout", name): one.model_copy(update={"history": one.history[-HISTORY:]})
            for name, one in snapshot.rollouts.items()
        },
        **{("dead", str(letter.seq)): _letter(letter) for letter in snapshot.letters},
        ("installation", "main"): _installation(snapshot),
    }
    return {name: row.model_dump(mode="json") for name, row in found.items()}


def points(rows: Mapping[Name, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return the newest points of the services' charts."""
    return {
        name: {line: row[line] for line in ("rate", "failed", "p95_ms", "waiting")}
        for (kind, name), row in rows.items()
        if kind == "service"
    }


def _services(snapshot: FleetSnapshot) -> Iterator[ServiceRow]:
    by_service: dict[str, list[StatusRow]] = {name: [] for name in snapshot.services}
    for row in snapshot.status.rows:
        by_service.setdefault(row.service, []).append(row)
    for name, found in sorted(by_service.items()):
        known = snapshot.services.get(name)
        versions = tuple(_version(row, snapshot) for row in found)
        flow = snapshot.together.get(name, Flow())
        waiting = [row.waiting for row in found if row.waiting is not None]
        desired = [row.desired for row in found if row.desired is not None]
        state, note = _state(known, versions, snapshot, name)
        yield ServiceRow(
            name=name,
            state=state,
            note=note,
            low=known.scale.min if known else 0,
            high=known.scale.max if known else 0,
            workers=sum(row.workers for row in found),
            unhealthy=sum(row.unhealthy for row in found),
            desired=sum(desired) if desired else None,
            waiting=sum(waiting) if waiting else None,
            in_hand=sum(row.in_hand for row in found),
            oldest_s=max((version.oldest_s for version in versions), default=0),
            **_flow(flow),
            rss_mb=rounded(sum(row.rss_mb for row in found)),
            dead=snapshot.status.dead.get(name, 0),
            versions=versions,
        )


def _version(row: StatusRow, snapshot: FleetSnapshot) -> VersionRow:
    key = (row.service, row.version)
    record, scale = snapshot.versions.get(key), snapshot.scales.get(key) or ScaleRecord(service=key[0], version=key[1])
    return VersionRow(
        version=row.version,
        weight=row.weight,
        phase=record.phase if record else "",
        image=(record.image or "") if record else "",
        workers=row.workers,
        unhealthy=row.unhealthy,
        desired=row.desired,
        health=scale.health,
        deaths=scale.deaths,
        last_exit=scale.last_exit,
        stderr=scale.stderr,
        retry_at=scale.retry_at,
        waiting=row.waiting,
        in_hand=row.in_hand,
        oldest_s=int(max(row.oldest_s, snapshot.oldest.get(key, 0.0))),
        **_flow(snapshot.flows.get(key, Flow())),
        rss_mb=rounded(row.rss_mb),
    )


def _flow(flow: Flow) -> dict[str, Any]:
    p95 = None if flow.p95 is None else rounded(flow.p95 * 1000)
    return {"rate": rounded(flow.rate), "failed": rounded(100 * flow.failed), "p95_ms": p95}


def _state(
    known: ServiceRecord | None, versions: Iterable[VersionRow], snapshot: FleetSnapshot, name: str
) -> tuple[State, str]:
    """Return the state of a service, by its worst problem, and the reason in a sentence."""
    used = tuple(one for one in versions if one.weight or one.desired or one.workers)  # other phases are over
    return next(
        chain(_of_records(known, snapshot, name), _of_workers(used), _of_work(known, used, snapshot, name)),
        ("ok", "all is well"),
    )


def _of_records(known: ServiceRecord | None, snapshot: FleetSnapshot, name: str) -> Iterator[tuple[State, str]]:
    for key in keys_of(name, snapshot.unreadable):
        yield "unwell", f"the control record {key} cannot be read: headway records mend {key}"
    if known is not None and known.suspended:
        yield "stopped", "stopped: it has no workers"


def _of_workers(versions: Iterable[VersionRow]) -> Iterator[tuple[State, str]]:
    for one in versions:
        if one.health == "crash-loop":
            yield "down", f"{one.version} is in a crash loop: {one.last_exit or 'its workers die'}"
        if one.weight and not one.workers and (one.desired is None or one.desired > 0):
            yield "down", f"{one.version} has {one.weight}% of the traffic and no worker"
    for one in versions:
        if one.health == "restarting":
            yield "unwell", f"{one.version}: {one.deaths} of its workers died within a minute"
        if one.unhealthy:
            yield "unwell", f"{one.version}: {one.unhealthy} of {one.workers} workers are unhealthy"


def _of_work(
    known: ServiceRecord | None, versions: Sequence[VersionRow], snapshot: FleetSnapshot, name: str
) -> Iterator[tuple[State, str]]:
    rollout = snapshot.rollouts.get(name)
    if rollout is not None and not rollout.over and rollout.phase != "standby":
        where = f"at {rollout.weight}% of the traffic" if rollout.phase in {"shift", "judge"} else rollout.phase
        yield "rollout", f"{rollout.version} is being released: {where}"
    for (service, version), share in snapshot.crowded.items():
        if service == name and share >= CROWDED:
            yield "busy", f"{version} has {share:.0%} of the unfinished messages that a consumer may have"
    if known is not None and known.orphans:
        yield "unwell", f"no deployed version handles {known.orphans[0]}: its events will not be processed"
    yield from _of_failures(snapshot, name)
    oldest = max(versions, key=lambda one: one.oldest_s, default=None)
    if oldest is not None and oldest.oldest_s > LONG and (oldest.waiting or 0) > 0:
        yield "busy", f"the oldest job of {oldest.version} is {oldest.oldest_s} s old"


def _of_failures(snapshot: FleetSnapshot, name: str) -> Iterator[tuple[State, str]]:
    """Yield what goes wrong with a service's work although its workers are well."""
    flow, usual = snapshot.together.get(name, Flow()), snapshot.usual.get(name)
    if flow.failed * flow.rate * WINDOW >= FEW and flow.failed > max(FAILING, FACTOR * (usual or 0.0)):
        compared = "" if usual is None else f", usually {usual:.0%}"
        yield "unwell", f"{flow.failed:.0%} of its work failed in the last half minute{compared}"
    new = sum(one.service == name and abs(snapshot.at - one.at.timestamp()) < RECENT for one in snapshot.letters)
    if new:
        yield "unwell", f"{counted(new, 'new dead letter')} in the last five minutes"
    silent = sum(one.beat.service == name and SILENCE <= one.silent < GONE for one in snapshot.workers)
    if silent:
        yield "unwell", f"{counted(silent, 'worker')} sent no heartbeat for {SILENCE:g} s"
    for (service, version), seconds in snapshot.oldest.items():
        stuck = snapshot.flows.get((service, version), Flow()).rate == 0 and seconds >= STUCK
        if service == name and stuck:
            yield "unwell", f"the queue of {version} is stuck: work waits for {seconds:.0f} s, and nothing was finished"


def _worker(heard: WorkerView) -> WorkerRow:
    beat = heard.beat
    silent = heard.silent >= SILENCE
    return WorkerRow(
        service=beat.service,
        version=beat.version,
        host=beat.host,
        pid=beat.pid,
        started=round(beat.started, 1),
        state="silent" if silent else beat.state,
        note=_unwell(heard, silent=silent),
        cpu=round(100 * heard.cpu),
        rss_mb=rounded(beat.rss_bytes / 1e6),
        jobs=beat.in_hand,
        slots=beat.slots,
        calls=beat.rpc_inflight,
        limit=beat.limit,
        oldest_s=int(beat.oldest_s),
    )


def _unwell(heard: WorkerView, *, silent: bool) -> str:
    beat = heard.beat
    if silent:
        return f"no heartbeat for more than {SILENCE:g} s"
    if not beat.healthy:
        return "its health check fails"
    if beat.hung:
        return f"{beat.hung} handlers ran into their timeout and did not end"
    if beat.loop_lag_s >= LATE:
        return "its event loop is late"
    return ""


def _scalings(scales: Mapping[tuple[str, str], ScaleRecord]) -> Iterator[tuple[str, ScalingRow]]:
    for name in sorted({service for service, _ in scales}):
        found = [
            DecisionRow(version=version, **one.model_dump())
            for (service, version), record in scales.items()
            if service == name
            for one in record.history
        ]
        found.sort(key=lambda one: -one.at)
        yield name, ScalingRow(decisions=tuple(found[:DECISIONS]))


def _letter(letter: DeadLetter) -> DeadRow:
    return DeadRow(
        seq=letter.seq,
        service=letter.service,
        tenant=letter.tenant,
        operation=letter.operation,
        cause=letter.cause,
        reason=letter.reason,
        attempts=letter.attempts,
        traceback=letter.traceback,
        at=letter.at.timestamp(),
        preview=letter.payload[: 4 * PREVIEW].decode(errors="replace")[:PREVIEW],
        size=None if letter.blob else len(letter.payload),
    )


def _installation(snapshot: FleetSnapshot) -> InstallationRow:
    leader = next((server.leader for server in snapshot.servers if server.leader), "")
    return InstallationRow(
        url=snapshot.status.url,
        headway=snapshot.headway,
        servers=tuple(
            ServerRow(
                name=server.name,
                version=".".join(map(str, server.version)),
                leader=bool(leader) and server.name == leader,
                stored_mb=round(server.stored / 1e6),
                room_mb=round(server.room / 1e6),
            )
            for server in snapshot.servers
        ),
        leases=tuple(
            LeaseRow(controller=name, holder=lease.holder, epoch=lease.epoch)
            for name, lease in sorted(snapshot.leases.items())
        ),
        dead=sum(snapshot.status.dead.values()),
        blind=dict(snapshot.blind),
    )


def rounded(value: float, digits: int = 2) -> float:
    """Round a number to significant digits: 1234 is 1200, 0.1234 is 0.12."""
    if abs(value) < 0.005:
        return 0.0
    return round(value, digits - 1 - floor(log10(abs(value))))
