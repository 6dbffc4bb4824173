"""Proof that a shift loses no message: all traffic has a receiver, and the split is real.

What can be proven of the mappings themselves (disjoint, totals of 100, nothing twice, leave to publish on what they
lead to) is proven where they are pushed, `headway.broker.routes.prove`, and each server has to confirm them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import orjson
from nats.aio.msg import Msg

from headway.broker import routes
from headway.broker.broker import Broker
from headway.broker.roles import PROBE
from headway.bus.client.bus import Bus
from headway.bus.client.ids import unique_id
from headway.bus.errors import ConnectionFailed
from headway.bus.nats.internals import server_info
from headway.bus.nats.refusals import translating
from headway.bus.wire import subjects
from headway.bus.wire.subjects import LANES
from headway.deployer import queues
from headway.deployer.analysis import binomial
from headway.deployer.errors import NotProven

PROBES: Final = 200
CERTAIN: Final = 1e-6
"""A split less probable than this, given the weights, is wrong."""
_BREAKING: Final = "deploy with --breaking if nobody needs it any more"
_UNDONE: Final = "the shift is undone, and tried again; look for other mappings of the account"
_TIMEOUT: Final = 2.0
_LISTEN: Final = 0.3
"""Seconds in which all workers of a service must answer."""


async def interest(
    bus: Bus, broker: Broker, service: str, weights: Mapping[str, int], before: str | None, *, breaking: bool
) -> None:
    """Prove that each version with traffic has workers on its subjects.

    Args:
        bus: a connection in the control or operator role.
        broker: of the server.
        service: name of the service.
        weights: the new weights, by version or by version and cluster.
        before: the version whose operations callers know.
        breaking: others need not serve all of them.

    Raises:
        NotProven: if a version has no worker for its calls or jobs.
        RouteRefused, ConnectionFailed: if the subscriptions are unknown.
    """
    endpoints, lanes = await asyncio.gather(_endpoints(bus, service), queues.consumers(bus, service))
    known = frozenset() if before is None or breaking else endpoints.get(before, frozenset())
    for version in sorted({name.partition("@")[0] for name in weights}):
        served, remedy = endpoints.get(version, frozenset()), f"see `headway status` for the workers of {service}"
        if not served and version not in lanes:
            raise NotProven(f"nobody takes calls or jobs of {service} {version}", remedy=remedy)
        if missing := known - served:
            raise NotProven(f"{service} {version} does not serve {', '.join(sorted(missing))}", remedy=_BREAKING)
        if version not in lanes and before in lanes and not breaking:
            raise NotProven(f"{service} {version} takes no jobs, {before} does", remedy=_BREAKING)
        if version in lanes and (gaps := sorted(set(range(LANES)) - lanes[version].keys())):
            raise NotProven(f"{service} {version} has no consumer on lanes {gaps}", remedy=remedy)
        for operation in served:
            subject = subjects.rpc_endpoint(service, version, operation).replace("*", PROBE)
            group = subjects.queue_group(service, version)
            if not (await broker.interest(subject)).get(group):
                raise NotProven(f"the server knows nobody in {group} for {subject}", remedy=remedy)


async def split(bus: Bus, service: str, weights: Mapping[str, int]) -> None:
    """Prove with probes that the server splits traffic by the weights. No worker subscribes to the probes' subjects.

    Raises:
        NotProven: if probes get lost, or the split does not match the weights.
    """
    nc = bus.nc
    cluster = server_info(nc).get("cluster")
    expected = routes.here(weights, cluster)
    operation = f"probe-{unique_id().lower()}"
    seen: Counter[str] = Counter()
    complete = asyncio.Event()

    async def on_probe(message: Msg) -> None:
        seen[subjects.parse_rpc(message.subject).version] += 1
        if seen.total() >= PROBES:
            complete.set()

    try:
        with translating(f"the probes of {service}"):
            subscription = await nc.subscribe(f"rpc.{service}.*.{PROBE}.{operation}", cb=on_probe)
            try:
                for _ in range(PROBES):
                    await nc.publish(subjects.rpc(service, PROBE, operation), b"")
                async with asyncio.timeout(_TIMEOUT):
                    await complete.wait()
            finally:
                await subscription.unsubscribe()
    except TimeoutError:
        lost = PROBES - seen.total()
        raise NotProven(f"{lost} of {PROBES} probes of {service} arrived nowhere", remedy=_UNDONE) from None
    except ConnectionFailed as error:
        raise NotProven(f"the split of {service} could not be probed: {error}", remedy=_UNDONE) from error
    check_split(service, expected, seen)


def check_split(service: str, expected: Mapping[str, int], seen: Mapping[str, int]) -> None:
    """Check that the observed split is plausible for the weights. Pure.

    Raises:
        NotProven: if not.
    """
    total = sum(seen.values())
    for version in sorted({*expected, *seen}):
        weight, count = expected.get(version, 0), seen.get(version, 0)
        likely = binomial.split(count, total, weight / 100) if total else 0.0
        if likely < CERTAIN:
            raise NotProven(
                f"{count} of {total} probes of {service} went to {version}, whose weight is {weight}%",
                remedy=_UNDONE,
            )


async def _endpoints(bus: Bus, service: str) -> dict[str, frozenset[str]]:
    """Return the operations that all workers of each version serve, as they report."""
    found: dict[str, frozenset[str]] = {}
    for answer in await ask_all(bus, f"$SRV.INFO.{service}"):
        version = (answer.get("metadata") or {}).get("headway.version", "")
        names = frozenset(endpoint["name"] for endpoint in answer.get("endpoints") or [])
        found[version] = found.get(version, names) & names
    return found


async def ask_all(bus: Bus, subject: str) -> list[dict[str, Any]]:
    """Return all workers' answers to a request."""
    nc = bus.nc
    inbox = nc.new_inbox()
    answers: list[dict[str, Any]] = []
    try:
        with translating(subject):
            subscription = await nc.subscribe(inbox)
            try:
                await nc.publish(subject, b"", reply=inbox)
                async with asyncio.timeout(_LISTEN):
                    while True:
                        message = await subscription.next_msg(timeout=_LISTEN)
                        if message.data:
                            answers.append(orjson.loads(message.data))
            except TimeoutError:
                return answers
            finally:
                await subscription.unsubscribe()
    except ConnectionFailed as error:
        raise NotProven(f"the workers could not be asked: {error}", remedy="it is tried again") from error
