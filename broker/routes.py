"""Routes: which share of a service's traffic goes to which version, as subject mappings inside nats-server.

Compiling is pure. Pushing sends the application account's new token to every server of the cluster, and is done when
each one has confirmed it; if one does not, the old token is pushed again, so that no two servers route differently.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.claims import WeightedMapping
from broker.errors import BadRoutes, RouteRefused
from bus import subjects
from bus.errors import InvalidSubject

Routes = dict[str, dict[str, int]]
"""Weight in percent by service and version: `{"fax": {"v1": 95, "v2": 5}}`."""

Mappings = dict[str, list[WeightedMapping]]

TOTAL: Final = 100
PUSH_TIMEOUT: Final = 2.0
"""Seconds that all servers together have to confirm."""
_PING_TIMEOUT: Final = 1.0

_PING: Final = "$SYS.REQ.SERVER.PING"
_UPDATE: Final = "$SYS.REQ.CLAIMS.UPDATE"


def check(routes: Mapping[str, Mapping[str, int]]) -> Routes:
    """Validate routes and return a copy without weights of 0.

    Raises:
        BadRoutes: if a name breaks the grammar, a weight is not a whole number from 0 to 100, or a service's
            weights do not total 100 (with less, the rest would be answered by nobody).
    """
    checked: Routes = {}
    for service, versions in routes.items():
        try:
            subjects.token(service, "service")
            for version in versions:
                subjects.token(version, "version")
        except InvalidSubject as error:
            raise BadRoutes(error.message, remedy=error.remedy) from error
        for version, weight in versions.items():
            if type(weight) is not int or not 0 <= weight <= TOTAL:
                raise BadRoutes(f"{service} {version}: weight {weight!r} is not a whole number from 0 to {TOTAL}")
        if (total := sum(versions.values())) != TOTAL:
            raise BadRoutes(f"the weights of {service} total {total}, not {TOTAL}")
        # A zero cannot be said in claims (it is read as 100), so it is left out.
        checked[service] = {version: weight for version, weight in versions.items() if weight}
    return checked


def compile(routes: Mapping[str, Mapping[str, int]]) -> Mappings:  # noqa: A001  # the word for it; used as routes.compile
    """The account mappings of routes: two for each service, and no two that match the same subject.

    Raises:
        BadRoutes: as `check`.
    """
    mappings: Mappings = {}
    for service, versions in check(routes).items():
        mappings[f"rpc.{service}.*.*"] = [
            WeightedMapping(subject=f"rpc.{service}.{version}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}", weight=weight)
            for version, weight in versions.items()
        ]
        lane = f"{{{{partition({subjects.LANES},1)}}}}"
        mappings[f"job.{service}.*.*"] = [
            WeightedMapping(
                subject=f"job.{service}.{version}.{lane}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}", weight=weight
            )
            for version, weight in versions.items()
        ]
    return mappings


def decompile(mappings: Mapping[str, list[WeightedMapping]]) -> Routes:
    """The routes that mappings came from; mappings that are not ours are left out."""
    return {
        source.split(".")[1]: {target.subject.split(".")[2]: target.weight or TOTAL for target in targets}
        for source, targets in mappings.items()
        if source.startswith("rpc.") and source.endswith(".*.*") and source.count(".") == 3
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server said to a push.

    Attributes:
        server: its name.
        error: why it refused; empty if it took it.
    """

    server: str
    error: str = ""


class Pusher:
    """Pushes account tokens, and knows the servers it has met, so that it can name one that is silent.

    Args:
        nc: a connection of the system account.
    """

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self._known: dict[str, str] = {}

    async def push(self, token: str, previous: str | None, *, timeout: float = PUSH_TIMEOUT) -> tuple[str, ...]:
        """Have every server of the cluster take an account's token.

        Args:
            token: the new one.
            previous: pushed again if one of the servers does not take the new one. It has to be issued later than it.
            timeout: seconds that the servers have to confirm.

        Returns:
            the names of the servers that took it.

        Raises:
            RouteRefused: naming each server that did not.
        """
        deadline = time.monotonic() + timeout
        servers, silent = await self.servers()
        if silent:
            raise RouteRefused(f"new routes were not sent: no answer from {_and(silent)}", servers=silent)
        answers = await self._update(token, servers, deadline)
        failed = {servers[id_]: answer.error for id_, answer in answers.items() if answer.error}
        failed |= {name: "no confirmation" for id_, name in servers.items() if id_ not in answers}
        if not failed:
            return tuple(sorted(servers.values()))
        if previous is not None:
            await self._update(previous, servers, time.monotonic() + timeout)
        why = "; ".join(f"server {name}: {reason}" for name, reason in sorted(failed.items()))
        raise RouteRefused(f"new routes were not taken: {why}", servers=tuple(sorted(failed)))

    async def servers(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """The servers of the cluster by id, and the names of those that should be there but do not answer.

        Raises:
            RouteRefused: if none answers.
        """
        found: dict[str, str] = {}
        expected = 1

        def take(answer: dict[str, Any]) -> bool:
            nonlocal expected
            server = answer.get("server", {})
            found[server.get("id", "")] = server.get("name", "")
            expected = max(expected, int(answer.get("statsz", {}).get("active_servers", 1)))
            return len(found) >= expected

        await self._gather(_PING, b"", take, time.monotonic() + _PING_TIMEOUT)
        if not found:
            raise RouteRefused("no server answers the system account", servers=tuple(self._known.values()))
        missing = expected - len(found)
        absent = tuple(sorted(set(self._known.values()) - set(found.values())))
        if missing <= 0:
            self._known = found
            return found, ()
        self._known |= found
        return found, absent or (f"{missing} of {expected} servers",)

    async def _update(self, token: str, servers: Mapping[str, str], deadline: float) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}

        def take(answer: dict[str, Any]) -> bool:
            server = answer.get("server", {})
            error = answer.get("error")
            said = "" if error is None else str(error.get("description", error))
            answers[server.get("id", "")] = Answer(server.get("name", ""), said)
            return answers.keys() >= servers.keys()

        await self._gather(_UPDATE, token.encode(), take, deadline)
        return answers

    async def _gather(
        self, subject: str, payload: bytes, take: Callable[[dict[str, Any]], bool], deadline: float
    ) -> None:
        """Ask all servers at once, and pass on their answers until `take` says that is all, or the time is up."""
        done = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            if message.data and take(orjson.loads(message.data)):
                done.set()

        inbox = self.nc.new_inbox()
        try:
            subscription = await self.nc.subscribe(inbox, cb=on_answer)
            try:
                await self.nc.publish(subject, payload, reply=inbox)
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await done.wait()
            finally:
                await subscription.unsubscribe()
        except TimeoutError:
            return
        except nats.errors.Error as error:
            raise RouteRefused(f"the connection of the system account failed: {error!r}") from error


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)
