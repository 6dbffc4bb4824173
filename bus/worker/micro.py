"""The NATS micro protocol (ADR-32): each worker answers the requests of `nats micro ls`, `info` and `stats`.

    $SRV.<PING|INFO|STATS>[.<service>[.<worker>]]

In addition, a worker answers SCHEMA with the schemas of all its handlers, since jobs and events are not endpoints of
NATS micro, and VALIDATE (bus/worker/validation.py).
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus.errors import HeadwayError
from headway.bus.nats.refusals import translating
from headway.bus.schemas import schemas
from headway.bus.service import Service
from headway.bus.wire import headers
from headway.bus.worker import validation
from headway.bus.worker.rpc import Endpoint, RpcServer

_TYPES: Final = {"PING": "ping", "INFO": "info", "STATS": "stats", "SCHEMA": "schema"}
_MAJOR = re.compile(r"v?(\d{1,9})")

_log = logging.getLogger("headway.bus")


def semantic_version(version: str) -> str:
    """Return the semantic version that ADR-32 requires: 3.0.0 for `v3`, 0.0.0-<label> for any other label."""
    major = _MAJOR.fullmatch(version)
    return f"{int(major[1])}.0.0" if major else f"0.0.0-{version}"


class MicroResponder:
    """Answers micro requests for one worker.

    Args:
        nc: the connection.
        service: the service.
        version: its version's label.
        worker: the worker's id.
        rpc: the server of the calls, whose endpoints are shown.
    """

    def __init__(self, nc: Client, service: Service, version: str, worker: str, rpc: RpcServer) -> None:
        self._nc = nc
        self._service = service
        self._worker = worker
        self._rpc = rpc
        self._started = datetime.now(UTC)
        self._identity = {
            "name": service.name,
            "id": worker,
            "version": semantic_version(version),
            "metadata": {"headway.version": version, validation.CAN: "true"},
        }
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Start answering."""
        name = self._service.name
        for subject in ("$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.{self._worker}"):
            self._subscriptions.append(await self._nc.subscribe(subject, cb=self._answer))

    async def stop(self) -> None:
        """Stop answering."""
        leaving, self._subscriptions = self._subscriptions, []
        try:
            with translating("$SRV"):
                for subscription in leaving:
                    await subscription.unsubscribe()
        except HeadwayError as error:
            _log.debug("unsubscribe: %r", error)

    def describe(self, verb: str) -> dict[str, Any] | None:
        """Return the answer to a verb; None for an unknown one."""
        kind = _TYPES.get(verb)
        if kind is None:
            return None
        answer: dict[str, Any] = {"type": f"io.nats.micro.v1.{kind}_response", **self._identity}
        if verb == "INFO":
            answer["description"] = self._service.description
            answer["endpoints"] = [self._endpoint(endpoint) for endpoint in self._rpc.endpoints]
        elif verb == "STATS":
            answer["started"] = self._started.isoformat().replace("+00:00", "Z")
            answer["endpoints"] = [self._stats(endpoint) for endpoint in self._rpc.endpoints]
        elif verb == "SCHEMA":
            answer["description"] = self._service.description
            answer["schemas"] = schemas(self._service)
        return answer

    async def _answer(self, message: Msg) -> None:
        verb = message.subject.split(".")[1]
        if not message.reply:
            return
        told: dict[str, str] | None = None
        if verb == validation.VERB:
            wanted = (message.headers or {}).get(validation.OPERATION, "")
            problem, payload = validation.validate(self._service, wanted, message.data)
            told = {validation.PROBLEM: headers.clean(problem)} if problem else None
        elif (answer := self.describe(verb)) is not None:
            payload = orjson.dumps(answer)
        else:
            return
        try:
            with translating("an answer"):
                await self._nc.publish(message.reply, payload, headers=told)
        except HeadwayError as error:
            _log.warning("%s was not answered: %s", message.subject, error)

    def _endpoint(self, endpoint: Endpoint) -> dict[str, Any]:
        return {
            "name": endpoint.handler.name,
            "subject": endpoint.subject,
            "queue_group": self._rpc.queue_group,
            "metadata": {"description": endpoint.handler.doc} if endpoint.handler.doc else {},
        }

    def _stats(self, endpoint: Endpoint) -> dict[str, Any]:
        return {
            "name": endpoint.handler.name,
            "subject": endpoint.subject,
            "queue_group": self._rpc.queue_group,
            "num_requests": endpoint.requests,
            "num_errors": endpoint.errors,
            "last_error": endpoint.last_error,
            "processing_time": endpoint.nanoseconds,
            "average_processing_time": endpoint.nanoseconds // max(1, endpoint.requests),
        }
