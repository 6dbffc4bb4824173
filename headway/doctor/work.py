"""Problems of workers, queues and routes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from headway.bus.nats.streams import EVENTS, JOBS, event_consumer, parse_lane_consumer
from headway.bus.wire.beat import Beat
from headway.doctor.facts import Consumer, Facts, StreamFacts
from headway.doctor.findings import Finding, error, note, warning

LAG: Final = 60.0
"""Seconds for which a queue may make no progress."""
CROWDED: Final = 0.8
"""Share of a consumer's limit of unfinished messages from which it is reported."""
LOOP: Final = 1.0
"""Seconds that a worker's event loop may be late."""
_NAMED: Final = 3
"""Workers that a finding names."""


def heartbeats(facts: Facts) -> Iterator[Finding]:
    """Find heartbeats that are not those of the workers they name."""
    for service, count in sorted(facts.refused.items()):
        what = f"{count:,} heartbeats in its name are not those of the workers they name, and are ignored"
        fix = "if its workers run an earlier version of headway, restart them; otherwise another service forges them"
        yield error("heartbeat-refused", service, what, fix)


def stranded(facts: Facts) -> Iterator[Finding]:
    """Find jobs and events that no worker will process."""
    if "workers" in facts.blind:
        return
    alive = _alive(facts)
    for stream in facts.streams:
        if stream.name.startswith(JOBS):
            yield from _stranded_jobs(facts, stream, alive)
        elif stream.name == EVENTS:
            yield from _stranded_events(stream, {service for service, _ in alive})


def _stranded_jobs(facts: Facts, stream: StreamFacts, alive: Mapping[tuple[str, str], list[Beat]]) -> Iterator[Finding]:
    service = stream.name.removeprefix(JOBS)
    for version, consumers in _by_version(stream).items():
        left = sum(one.left for one in consumers)
        late = sum(one.ack_pending for one in consumers if _past_wait(one))
        if left and not alive.get((service, version)) and not _wakes(facts, service, version):
            waiting = f"{left:,} jobs are queued, but no worker of {version} is running"
            held = f"; {late:,} of them were being processed by a worker that is gone" if late else ""
            yield error("stranded", f"{service} {version}", waiting + held, _start(facts, service, version))
        elif late and alive.get((service, version)):
            what = f"{late:,} jobs are past their ack wait, but none of its workers pulls them"
            fix = "look at its workers: `headway status`, and their logs; the scaler replaces hung workers"
            yield error("past-ack-wait", f"{service} {version}", what, fix)
    for version, count in stream.uncovered.items():
        what = f"{count:,} jobs belong to a version that has no consumer: no worker will ever take them"
        yield error("no-consumer", f"{service} {version}", what, _start(facts, service, version))


def _stranded_events(stream: StreamFacts, services: set[str]) -> Iterator[Finding]:
    for consumer in stream.consumers:
        service, _, event = consumer.name.partition("_")
        if consumer.left and service not in services:
            fix = f"start {service}; if it is gone for good: nats consumer rm {EVENTS} {consumer.name}"
            what = f"{consumer.left:,} events are queued, but no worker of {service} is running"
            yield error("stranded-events", f"{service} {event.replace('_', '.')}", what, fix)


def _past_wait(consumer: Consumer) -> bool:
    """Return whether delivered messages are overdue: they would be delivered again if a worker pulled."""
    return bool(consumer.ack_pending) and not consumer.pulls and (consumer.idle or 0.0) > 2 * consumer.ack_wait


def _wakes(facts: Facts, service: str, version: str) -> bool:
    """Return whether the scaler is about to start a worker: then a service at zero is no problem."""
    record, scale = facts.services.get(service), facts.scales.get((service, version))
    known = facts.versions.get((service, version))
    if record is None or known is None or record.suspended or known.phase == "retired":
        return False
    led = any(name.startswith("scaler") for name in facts.leases)
    return led and (scale is None or scale.health == "ok")


def lag(facts: Facts) -> Iterator[Finding]:
    """Find queues that make no progress or are paused, although there are workers."""
    alive = _alive(facts)
    for stream in facts.streams:
        service = stream.name.removeprefix(JOBS)
        for consumer in stream.consumers:
            name = f"{stream.name} {consumer.name}"
            if not consumer.led:
                yield error("consumer-no-leader", name, "has no leader", "restart the servers that hold its replicas")
            if consumer.paused:
                fix = f"nats consumer resume {stream.name} {consumer.name}"
                yield warning("paused", name, f"is paused; {consumer.pending:,} messages are queued", fix)
        if not stream.name.startswith(JOBS):
            continue
        for version, consumers in _by_version(stream).items():
            still = [one for one in consumers if one.pending and not one.paused and (one.idle or 0.0) > LAG]
            free = sum(beat.slots - beat.in_hand for beat in alive.get((service, version), ()))
            if still and free > 0:
                count = sum(one.pending for one in still)
                what = (
                    f"{count:,} jobs are queued, and none was taken for {max(one.idle or 0.0 for one in still):.0f} s"
                )
                fix = "look for a hung handler: `headway status`, and the workers' log"
                yield warning("standing-still", f"{service} {version}", what, fix)


def unacknowledged(facts: Facts) -> Iterator[Finding]:
    """Find consumers close to their limit of unfinished messages, where they deliver no more."""
    for stream in facts.streams:
        for consumer in stream.consumers:
            if not consumer.limit or consumer.ack_pending < CROWDED * consumer.limit:
                continue
            full = consumer.ack_pending >= consumer.limit
            then = (
                "nothing more is delivered to any of its tenants" if full else "at the limit nothing more is delivered"
            )
            what = f"has {consumer.ack_pending:,} of {consumer.limit:,} unfinished messages: {then}"
            fix = "look for jobs that fail and await a retry (`headway status`, `headway dead ls`); add workers"
            yield (error if full else warning)("ack-pending", f"{stream.name} {consumer.name}", what, fix)


def orphans(facts: Facts) -> Iterator[Finding]:
    """Find consumers of events that no deployed version handles."""
    held = {one.name: one.left for stream in facts.streams if stream.name == EVENTS for one in stream.consumers}
    for service, record in sorted(facts.services.items()):
        for event in record.orphans:
            name = event_consumer(service, event)
            count = held.get(name, 0)
            what = f"no deployed version handles {event}; its consumer holds {count:,} events and is removed in an hour"
            fix = f"release a version that handles it, or remove it now: nats consumer rm {EVENTS} {name}"
            yield warning("orphaned-consumer", service, what, fix)


def traffic(facts: Facts) -> Iterator[Finding]:
    """Find routes without workers, and workers without routes."""
    if facts.routes is None or "workers" in facts.blind:
        return
    alive = {key: beats for key, beats in _alive(facts).items() if any(one.state == "serving" for one in beats)}
    for service, weights in facts.routes.items():
        for version, weight in weights.items():
            if weight and (service, version) not in alive and not _idle(facts, service, version):
                what = f"has {weight}% of the traffic and no worker: calls fail at once, jobs stay queued"
                yield error("route-to-nobody", f"{service} {version}", what, _start(facts, service, version))
    for service in sorted({service for service, _ in alive} - {s for s, w in facts.routes.items() if any(w.values())}):
        what = "has workers, but no route to any of them: calls and jobs get 'no responders'"
        yield warning("no-route", service, what, "start it with `headway up`, which sets the route, or deploy it")


def _idle(facts: Facts, service: str, version: str) -> bool:
    """Return whether it has no workers on purpose: jobs start one, and it serves no calls."""
    record = facts.services.get(service)
    return record is not None and not record.calls and record.scale.min == 0 and _wakes(facts, service, version)


def health(facts: Facts) -> Iterator[Finding]:
    """Find workers that die or are unhealthy, and missing scalers."""
    for (service, version), scale in sorted(facts.scales.items()):
        if scale.health != "ok":
            kind = error if scale.health == "crash-loop" else warning
            last = f", said: {scale.stderr[-1]}" if scale.stderr else ""
            what = f"{scale.health}: {scale.deaths} deaths in a minute, the last one {scale.last_exit}{last}"
            fix = f"`headway status` shows its last lines; fix it, or: headway rollout undo {service}"
            yield kind(scale.health, f"{service} {version}", what, fix)
    for beat in facts.beats:
        if beat.state != "serving":
            continue
        signs = []
        if not beat.healthy:
            signs.append("a health check fails")
        if beat.hung:
            signs.append(f"{beat.hung} handlers kept running after their timeout")
        if beat.loop_lag_s > LOOP:
            signs.append(f"its event loop is {beat.loop_lag_s:.1f} s late")
        if signs:
            fix = "the scaler replaces it; see its log for the cause"
            yield warning("worker-ill", f"{beat.service} {beat.worker}", "; ".join(signs), fix)
    wanted = [name for name, record in facts.services.items() if not record.suspended]
    if wanted and not any(name.startswith("scaler") for name in facts.leases) and "control records" not in facts.blind:
        fix = "start `headway scaler --dir ...` where the workers run; `headway up` runs one"
        yield error(
            "no-scaler",
            "scaler",
            f"no scaler is running: {', '.join(sorted(wanted))} will not be scaled or restarted",
            fix,
        )


def unstored(facts: Facts) -> Iterator[Finding]:
    """Find workers that could not store (or read) a record of attempts or a dead letter since they started."""
    for (service, version), beats in sorted(_alive(facts).items()):
        struck = [beat for beat in beats if beat.unstored]
        if not struck:
            continue
        count = sum(beat.unstored for beat in struck)
        who = ", ".join(sorted(beat.worker for beat in struck)[:_NAMED]) + (" ..." if len(struck) > _NAMED else "")
        what = (
            f"{count:,} times since they started, {len(struck)} of its {len(beats)} workers ({who}) could not store "
            "or read a record of attempts or a dead letter: those jobs and events stay queued"
        )
        fix = (
            "the workers' log names the refusal. Make room: a larger disk or store, or `headway dead purge` if the "
            "stream of dead letters is full. The count starts again with the next worker"
        )
        yield warning("unstored", f"{service} {version}", what, fix)


def releases(facts: Facts) -> Iterator[Finding]:
    """Find releases that no deployer continues, or that wait for a person."""
    led = any(name.startswith("deployer") for name in facts.leases)
    for service, rollout in sorted(facts.rollouts.items()):
        if rollout.over:
            continue
        if not led and "leases" not in facts.blind:
            fix = "start `headway deployer --dir ...` where the keys are; `headway up` runs one"
            what = f"the release of {rollout.version} is at {rollout.phase}, but no deployer is running"
            yield error("no-deployer", service, what, fix)
        elif rollout.paused:
            what = f"the release of {rollout.version} is paused at {rollout.phase}, {rollout.weight}% of the traffic"
            yield note(
                "release-paused",
                service,
                what,
                f"headway rollout resume {service}, or: headway rollout abort {service}",
            )


def letters(facts: Facts) -> Iterator[Finding]:
    """Find dead letters."""
    for service, count in facts.dead.items():
        fix = f"headway dead ls --service {service}; then `headway dead replay` or `headway dead purge`"
        yield warning("dead-letters", service, f"{count:,} dead letter{'' if count == 1 else 's'}", fix)


def _alive(facts: Facts) -> dict[tuple[str, str], list[Beat]]:
    found: dict[tuple[str, str], list[Beat]] = {}
    for beat in facts.beats:
        if beat.state != "stopped":
            found.setdefault((beat.service, beat.version), []).append(beat)
    return found


def _by_version(stream: StreamFacts) -> dict[str, list[Consumer]]:
    found: dict[str, list[Consumer]] = {}
    for consumer in stream.consumers:
        if (lane := parse_lane_consumer(consumer.name)) is not None:
            found.setdefault(lane.version, []).append(consumer)
    return found


def _start(facts: Facts, service: str, version: str) -> str:
    known = facts.versions.get((service, version))
    app = known.app if known is not None else "module:variable"
    return f"start workers of it: headway worker {app} --version {version}"
