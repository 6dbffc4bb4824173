"""Routes: the share of a service's traffic that each version gets, as subject mappings in nats-server.

Compiling is pure. Pushing sends the accounts' new tokens to every server of the cluster, and is done when each one has
confirmed them; if one does not, the old tokens are pushed again, so that no two servers route differently.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from headway.broker.claims import Account, Permission, Scope, WeightedMapping
from headway.broker.errors import BadRoutes, RouteRefused
from headway.bus.errors import HeadwayError, InvalidSubject
from headway.bus.nats.refusals import translating
from headway.bus.wire import subjects

Routes = dict[str, dict[str, int]]
"""Weight in percent by service and version: `{"fax": {"v1": 95, "v2": 5}}`.

A version may name a cluster: `{"fax": {"v1": 100, "v1@eu": 95, "v2@eu": 5}}` shifts traffic in `eu` alone. The
weights of a named cluster total 100 as well; all other clusters use the weights without a cluster.
"""

Mappings = dict[str, list[WeightedMapping]]

Met = tuple[dict[str, str], tuple[str, ...]]
"""The servers of a cluster by id, and the names of expected servers that do not answer."""

TOTAL: Final = 100
PUSH_TIMEOUT: Final = 2.0
"""Seconds that all servers together have to confirm."""
_PING_TIMEOUT: Final = 1.0
_LIMIT: Final = 100_000
"""Most subscriptions that a server lists."""

_SAMPLE: Final = "sample"
"""A sample tenant, service or operation for checking permissions."""

_PING: Final = "$SYS.REQ.SERVER.PING"
_UPDATE: Final = "$SYS.REQ.CLAIMS.UPDATE"
_SUBSCRIPTIONS: Final = "$SYS.REQ.SERVER.PING.SUBSZ"


NAMED: Final = "rpc.*.*.*.*"
"""What a call that names a version is published on. Destinations of routes look the same, but are not mapped again."""
DIRECT: Final = {
    NAMED: [WeightedMapping(subject=f"direct.{'.'.join(f'{{{{wildcard({n})}}}}' for n in (1, 2, 3, 4))}", weight=TOTAL)]
}
"""Calls that name a version get a subject that only roles which may do so can publish on: permissions are checked on
the mapped subject, and cannot tell a route's destination from the same subject published by hand.
"""

_VARIANTS: Final = tuple(
    (first, second)
    for first in ("{{wildcard(1)}}", "{{Wildcard(1)}}", "$1")
    for second in ("{{wildcard(2)}}", "{{Wildcard(2)}}", "$2")
)
"""Equivalent spellings of one destination: the server refuses duplicates, also for two clusters."""


def check(routes: Mapping[str, Mapping[str, int]]) -> Routes:
    """Validate routes and return a copy without weights of 0.

    Raises:
        BadRoutes: if a name breaks the grammar, a weight is not a whole number from 0 to 100, or the weights of a
            service, or of one of its clusters, do not total 100 (with less, the rest would get no answer).
    """
    checked: Routes = {}
    for service, versions in routes.items():
        totals = {"": 0}
        for name, weight in versions.items():
            cluster = _names(service, name)
            if type(weight) is not int or not 0 <= weight <= TOTAL:
                raise BadRoutes(f"{service} {name}: weight {weight!r} is not a whole number from 0 to {TOTAL}")
            totals[cluster] = totals.get(cluster, 0) + weight
        for cluster, total in totals.items():
            if total != TOTAL:
                where = f" in cluster {cluster}" if cluster else ""
                raise BadRoutes(f"the weights of {service}{where} total {total}, not {TOTAL}")
        if len(totals) > len(_VARIANTS):
            raise BadRoutes(f"{service} has weights for {len(totals) - 1} clusters, {len(_VARIANTS) - 1} are possible")
        # Claims cannot express a zero (it is read as 100), so it is left out.
        checked[service] = {name: weight for name, weight in versions.items() if weight}
    return checked


def _names(service: str, name: str) -> str:
    """Check the name of a service and of a version; return the cluster that it names, if any."""
    version, at, cluster = name.partition("@")
    try:
        subjects.token(service, "service")
        subjects.token(version, "version")
        return subjects.identifier(cluster, "cluster") if at else ""
    except InvalidSubject as error:
        raise BadRoutes(error.message, remedy=error.remedy) from error


def compile(routes: Mapping[str, Mapping[str, int]]) -> Mappings:  # noqa: A001  # noqa: A001  # the natural name; used as routes.compile
    """Compile routes into account mappings: two for each service, none matching the same subject as another.

    Raises:
        BadRoutes: as `check`.
    """
    lane = f"{{{{partition({subjects.COMMON},1)}}}}."
    mappings: Mappings = {}
    for service, versions in check(routes).items():
        mappings[f"rpc.{service}.*.*"] = _destinations(f"rpc.{service}", versions, "")
        mappings[f"job.{service}.*.*"] = _destinations(f"job.{service}", versions, lane)
    return mappings


def _destinations(start: str, versions: Mapping[str, int], lane: str) -> list[WeightedMapping]:
    written = [""]
    found = []
    for name, weight in versions.items():
        version, _, cluster = name.partition("@")
        if cluster not in written:
            written.append(cluster)
        tenant, operation = _VARIANTS[written.index(cluster)]
        subject = f"{start}.{version}.{lane}{tenant}.{operation}"
        found.append(WeightedMapping(subject=subject, weight=weight, cluster=cluster))
    return found


def decompile(mappings: Mapping[str, list[WeightedMapping]]) -> Routes:
    """Return the routes that mappings were compiled from; ignore other mappings."""
    return {
        service: {_name(target): target.weight or TOTAL for target in targets}
        for source, targets in mappings.items()
        if (service := subjects.service_of_route(source)) is not None
    }


def _name(target: WeightedMapping) -> str:
    version = subjects.version_of_target(target.subject)
    return f"{version}@{target.cluster}" if target.cluster else version


def here(versions: Mapping[str, int], cluster: str | None) -> dict[str, int]:
    """Return the weights in one cluster."""
    there = {name.partition("@")[0]: weight for name, weight in versions.items() if name.endswith(f"@{cluster}")}
    return there or {name: weight for name, weight in versions.items() if "@" not in name}


def anywhere(routes: Mapping[str, Mapping[str, int]]) -> Routes:
    """Return the largest weight of each version in any cluster; above 0, it gets traffic somewhere."""
    found: Routes = {service: {} for service in routes}
    for service, versions in routes.items():
        for name, weight in versions.items():
            version = name.partition("@")[0]
            found[service][version] = max(weight, found[service].get(version, 0))
    return found


def prove(account: Account) -> None:
    """Check that the mappings of an account token do what they should, before it is pushed.

    Raises:
        BadRoutes: if two mappings match the same subject (then their order is random), if a destination is there
            twice, if weights do not total 100, or if a role may not publish on what its subjects are mapped to.
    """
    seen: dict[str, list[str]] = {}
    for source in account.mappings:
        start = _start(source)
        near = [one for key, many in seen.items() if "*" in {key, start} or key == start for one in many]
        if other := next((one for one in near if _overlap(one, source)), None):
            raise BadRoutes(f"mappings {other} and {source} match the same subjects, in no defined order")
        seen.setdefault(start, []).append(source)
    for source, targets in account.mappings.items():
        totals: dict[str, int] = {}
        for target in targets:
            totals[target.cluster] = totals.get(target.cluster, 0) + (target.weight or TOTAL)
        if len({target.subject for target in targets}) < len(targets):
            raise BadRoutes(f"{source} has the same destination twice")
        if wrong := {cluster: total for cluster, total in totals.items() if total != TOTAL}:
            raise BadRoutes(f"the weights of {source} total {next(iter(wrong.values()))}, not {TOTAL}")
        for scope in account.signing_keys:
            if isinstance(scope, Scope) and source != NAMED:
                _permitted(scope, source, targets)


def _start(source: str) -> str:
    """Return the first tokens of a source: sources that begin differently match no subject in common."""
    first = source.split(".")[:2]
    return "*" if {"*", ">"} & set(first) else ".".join(first)


def _permitted(scope: Scope, source: str, targets: list[WeightedMapping]) -> None:
    """Check that each role may publish to the mapped subjects, where the server checks permissions."""
    if not permits(scope.template.pub, source.replace("*", _SAMPLE)):
        return
    for target in targets:
        mapped = re.sub(r"\{\{partition[^}]*\}\}", "0", target.subject, flags=re.IGNORECASE)
        subject = re.sub(r"\{\{[^}]*\}\}|\$\d+", _SAMPLE, mapped)
        if not permits(scope.template.pub, subject):
            raise BadRoutes(
                f"the role {scope.role} may not publish on {subject}, so {source} cannot be mapped to it",
                remedy="allow the role both forms of the subject (broker/roles.py)",
            )


def permits(permission: Permission, subject: str) -> bool:
    """Return whether a permission allows a subject, for a user whose tags all are `_SAMPLE`."""
    return _permits(tuple(permission.allow), tuple(permission.deny), subject)


@lru_cache(maxsize=4096)
def _permits(allow: tuple[str, ...], deny: tuple[str, ...], subject: str) -> bool:
    def matches(pattern: str) -> bool:
        return _overlap(re.sub(r"\{\{[^}]*\}\}", _SAMPLE, pattern), subject)

    return (not allow or any(map(matches, allow))) and not any(map(matches, deny))


def _overlap(one: str, other: str) -> bool:
    """Return whether some subject matches both patterns."""
    ours, theirs = one.split("."), other.split(".")
    for a, b in zip(ours, theirs, strict=False):
        if ">" in {a, b}:
            return True
        if a != b and "*" not in {a, b}:
            return False
    return len(ours) == len(theirs)


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one server answered to a push.

    Attributes:
        server: its name.
        error: why it refused; empty if it took it.
    """

    server: str
    error: str = ""


class Pusher:
    """Pushes account tokens and remembers the servers it has seen, to name those that do not answer.

    Args:
        nc: a connection of the system account.
    """

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self._known: list[str] = []

    async def push(
        self,
        tokens: Sequence[str],
        previous: Sequence[str] = (),
        *,
        met: Met | None = None,
        timeout: float = PUSH_TIMEOUT,
    ) -> tuple[str, ...]:
        """Push account tokens to every server of the cluster, one token after the other.

        Args:
            tokens: the new ones.
            previous: pushed again if a server does not accept a new one; they must have a later time of issue.
            met: a fresh result of `servers()`; it is called by default.
            timeout: seconds that the servers have to confirm.

        Returns:
            the names of the servers that accepted them.

        Raises:
            RouteRefused: naming each server that did not.
        """
        deadline = time.monotonic() + timeout
        servers, silent = met or await self.servers()
        if silent:
            raise RouteRefused(f"new routes were not sent: no answer from {_and(silent)}", servers=silent)
        for token in tokens:
            answers = await self._update(token, servers, deadline)
            failed = {servers[id_]: answer.error for id_, answer in answers.items() if answer.error}
            failed |= {name: "no confirmation" for id_, name in servers.items() if id_ not in answers}
            if failed:
                break
        else:
            return tuple(sorted(servers.values()))
        for token in previous:
            await self._update(token, servers, time.monotonic() + timeout)
        why = "; ".join(f"server {name}: {reason}" for name, reason in sorted(failed.items()))
        raise RouteRefused(f"new routes were not taken: {why}", servers=tuple(sorted(failed)))

    async def servers(self) -> Met:
        """Return the servers of the cluster by id, and the names of those that do not answer.

        Raises:
            RouteRefused: if none answers.
        """
        found: dict[str, str] = {}
        heard_of: set[str] = set()

        def take(answer: dict[str, Any]) -> bool:
            server = answer.get("server", {})
            found[server.get("id", "")] = server.get("name", "")
            # Not `active_servers`: it still counts a server for two and a half minutes after its death.
            heard_of.update(route.get("name", "") for route in answer.get("statsz", {}).get("routes") or [])
            return heard_of <= set(found.values())

        await self._gather(_PING, b"", take, time.monotonic() + _PING_TIMEOUT)
        if not found:
            raise RouteRefused("no server answers the system account", servers=tuple(self._known))
        names = set(found.values())
        silent = tuple(sorted(heard_of - names))
        self._known = sorted(names)
        return found, silent

    async def interest(self, account: str, subject: str, *, timeout: float = PUSH_TIMEOUT) -> dict[str, int]:
        """Count the subscriptions that would receive a message, by queue group, over all servers.

        Args:
            account: its public key.
            subject: a literal one.
            timeout: seconds that the servers have to answer.

        Raises:
            RouteRefused: if one of them does not answer.
        """
        servers, silent = await self.servers()
        if silent:
            raise RouteRefused(f"cannot count subscriptions: no answer from {_and(silent)}", servers=silent)
        groups: dict[str, int] = {}
        answered: set[str] = set()

        def take(answer: dict[str, Any]) -> bool:
            answered.add(answer.get("server", {}).get("id", ""))
            for found in answer.get("data", {}).get("subscriptions_list") or []:
                group = found.get("qgroup", "")
                groups[group] = groups.get(group, 0) + 1
            return answered >= servers.keys()

        ask = {"subscriptions": True, "acc": account, "account": account, "test": subject, "limit": _LIMIT}
        await self._gather(_SUBSCRIPTIONS, orjson.dumps(ask), take, time.monotonic() + timeout)
        if missing := tuple(sorted(name for id_, name in servers.items() if id_ not in answered)):
            raise RouteRefused(f"cannot count subscriptions: no answer from {_and(missing)}", servers=missing)
        return groups

    async def _update(self, token: str, servers: Mapping[str, str], deadline: float) -> dict[str, ProbeAnswer]:
        answers: dict[str, ProbeAnswer] = {}

        def take(answer: dict[str, Any]) -> bool:
            server = answer.get("server", {})
            error = answer.get("error")
            said = "" if error is None else str(error.get("description", error))
            answers[server.get("id", "")] = ProbeAnswer(server.get("name", ""), said)
            return answers.keys() >= servers.keys()

        await self._gather(_UPDATE, token.encode(), take, deadline)
        return answers

    async def _gather(
        self, subject: str, payload: bytes, take: Callable[[dict[str, Any]], bool], deadline: float
    ) -> None:
        """Ask all servers at once; pass their answers to `take` until it is satisfied or the time is up."""
        done = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            if message.data and take(orjson.loads(message.data)):
                done.set()

        inbox = self.nc.new_inbox()
        try:
            with translating(subject):
                subscription = await self.nc.subscribe(inbox, cb=on_answer)
                try:
                    await self.nc.publish(subject, payload, reply=inbox)
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        await done.wait()
                finally:
                    await subscription.unsubscribe()
        except TimeoutError:
            return
        except HeadwayError as error:
            raise RouteRefused(f"the connection of the system account failed: {error}") from error


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)
