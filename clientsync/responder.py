"""Answer pages' requests: `sync.<tenant>.pull` and `sync.<tenant>.submit.<service>.<operation>`.

All instances form one queue group. Each tenant has limits: bytes of a request, requests per second, requests at a time.
A request that has waited longer than its page does is not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.client.limits import Rates
from headway.bus.errors import Conflict, HeadwayError, InvalidSubject, Overloaded, TooLarge
from headway.bus.nats import direct
from headway.bus.nats.refusals import translating
from headway.bus.wire import headers, subjects
from headway.bus.wire.replies import error_headers
from headway.clientsync import protocol
from headway.clientsync.errors import BadRequest
from headway.clientsync.metrics import SyncMetrics
from headway.clientsync.presence import Presence
from headway.clientsync.proofs import Proofs
from headway.clientsync.pull import Puller

QUEUE: Final = "client-sync"
RATE: Final = 500.0
"""Sustained requests per second of one tenant at one instance."""
BURST: Final = 5000.0
"""Burst of requests, for the moment when all of a tenant's pages reconnect."""
CHANGES: Final = 100
"""Number of changes in an answer that count as one additional request."""
AT_A_TIME: Final = 16
"""Requests of one tenant that one instance handles at a time; others wait."""
WAITING: Final = 10_000
"""Maximum number of waiting requests of all tenants; more are refused at once."""
MAX_JOB: Final = 64 * 1024
"""Maximum bytes of a job that a page submits."""
_PATIENCE: Final = 10.0
"""Seconds after which the page no longer waits for the answer."""
_SUBMIT_TIMEOUT: Final = 5.0
_LEAVE: Final = 2.0
"""Seconds that requests in progress have to finish on shutdown."""

_log = logging.getLogger("headway.clientsync")


class Responder:
    """Answers the requests of pages.

    Args:
        bus: a connection in the role `web`.
        puller: answers pulls.
        presence: provides the users online.
        metrics: records each request.
        proofs: makes the proofs of jobs' users.
        rate, burst: requests per second of one tenant, sustained and at once.
    """

    def __init__(
        self,
        bus: Bus,
        puller: Puller,
        presence: Presence,
        metrics: SyncMetrics,
        proofs: Proofs,
        *,
        rate: float = RATE,
        burst: float = BURST,
    ) -> None:
        self._bus = bus
        self._puller = puller
        self._presence = presence
        self._metrics = metrics
        self._proofs = proofs
        self._rates = Rates(rate, burst)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._waiting: dict[str, int] = {}
        self._taken: list[Subscription] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._inflight = 0
        self._asked: dict[str, float] = {}

    def active(self, since: float) -> set[str]:
        """Return the tenants whose pages have pulled since a time in monotonic seconds."""
        self._asked = {tenant: at for tenant, at in self._asked.items() if at >= since}
        return set(self._asked)

    @property
    def load(self) -> dict[str, int]:
        """Number of requests in progress, and of tenants that they belong to."""
        return {"requests": self._inflight, "tenants": len(self._slots)}

    async def run(self, ready: asyncio.Event) -> None:
        """Answer until cancelled.

        Args:
            ready: set once requests are accepted.
        """
        async with tasks.group() as group:

            def taker(work: Callable[[str, Msg], Awaitable[bytes]]) -> direct.Handle:
                def take(message: Msg) -> None:
                    if not subjects.is_inbox(message.reply):
                        return  # its sender may not publish there itself
                    if self._inflight >= WAITING:
                        group.create_task(self._refuse(message, Overloaded("too many requests are waiting")))
                        return
                    self._inflight += 1
                    self._idle.clear()
                    group.create_task(self._serve(message, work))

                return take

            nc = self._bus.nc
            self._taken = [
                await direct.subscribe(nc, "sync.*.pull", taker(self._pull), queue=QUEUE),
                await direct.subscribe(nc, "sync.*.submit.*.*", taker(self._submit), queue=QUEUE),
            ]
            try:
                await self._bus.flush()
                ready.set()
                await asyncio.Event().wait()
            finally:
                for subscription in self._taken:
                    if not nc.is_closed:
                        await subscription.unsubscribe()

    async def leave(self) -> None:
        """Stop accepting requests, and return when those in progress are answered or `_LEAVE` seconds have passed."""
        taken, self._taken = self._taken, []
        if self._bus.nc.is_connected:
            with contextlib.suppress(TimeoutError, HeadwayError), translating("leaving"):
                async with asyncio.timeout(_LEAVE):
                    await direct.leave(self._bus.nc, *taken)
                    await self._idle.wait()

    async def _serve(self, message: Msg, work: Callable[[str, Msg], Awaitable[bytes]]) -> None:
        began = time.monotonic()
        refused: HeadwayError | None = None
        try:
            tenant = subjects.parse_sync(message.subject).tenant
            self._rates.check(tenant, began, f"requests of tenant {tenant}")
            slots = self._slots.setdefault(tenant, asyncio.Semaphore(AT_A_TIME))
            self._waiting[tenant] = self._waiting.get(tenant, 0) + 1
            try:
                async with slots:
                    if time.monotonic() - began < _PATIENCE:
                        await self._respond(message, await work(tenant, message), {})
            finally:
                self._waiting[tenant] -= 1
                if not self._waiting[tenant]:
                    del self._waiting[tenant], self._slots[tenant]
        except HeadwayError as error:
            refused = error
        except Exception:
            _log.exception("%s failed", message.subject)
            refused = HeadwayError("client sync failed")
        finally:
            self._inflight -= 1
            if not self._inflight:
                self._idle.set()
        if refused is not None:
            await self._refuse(message, refused)
        kind, took = subjects.sync_kind(message.subject), time.monotonic() - began
        self._metrics.asked(kind, took, refused.code if refused is not None else None)

    async def _pull(self, tenant: str, message: Msg) -> bytes:
        request = protocol.parse(message.data)
        self._asked[tenant] = time.monotonic()
        if request.presence:
            return orjson.dumps(self._presence.of(tenant))
        if request.conflict is not None:
            await self._bus.publish(subjects.live_conflict(tenant), orjson.dumps(request.conflict.model_dump()))
            return b"{}"
        answer = await self._puller.answer(tenant, request)
        self._rates.charge(tenant, time.monotonic(), len(answer["changes"]) / CHANGES)
        self._metrics.told(len(answer["changes"]))
        return orjson.dumps(answer)

    async def _submit(self, tenant: str, message: Msg) -> bytes:
        """Submit a job for a page, which has no permission to do so itself (broker/roles.py)."""
        asked = subjects.parse_sync(message.subject)
        service, operation = asked.service, asked.operation
        given = message.headers or {}
        key = given.get(headers.MESSAGE_ID, "")
        if len(message.data) > MAX_JOB:
            raise TooLarge(f"the job has {len(message.data)} bytes", remedy=f"send at most {MAX_JOB} from a page")
        try:
            key = subjects.key_token(key)
            subject = subjects.job(service, tenant, operation)
            orjson.loads(message.data or b"null")
        except InvalidSubject as error:
            remedy = f"{error.remedy}; the key is the header {headers.MESSAGE_ID}"
            raise BadRequest(error.message, remedy=remedy) from error
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"the job is not JSON: {error}") from error
        sent = {headers.MESSAGE_ID: self._bus.ids.keyed(tenant, operation, key)}
        for name in (headers.TRACEPARENT, headers.TRACESTATE, headers.BASE_REVISIONS):
            if value := given.get(name):
                sent[name] = headers.clean(value)
        payload = message.data or b"null"
        said, place = given.get(headers.USER), f"{service}.{operation}"
        sent[headers.USER] = self._proofs.of_job(tenant, said, message.reply, place, payload)
        await self._check_bases(tenant, protocol.base_revisions(given.get(headers.BASE_REVISIONS, "")))
        receipt = await self._bus.store(subject, payload, sent, _SUBMIT_TIMEOUT)
        return orjson.dumps({"stream": receipt.stream, "seq": receipt.seq, "duplicate": receipt.duplicate})

    async def _check_bases(self, tenant: str, bases: Mapping[tuple[str, str], int]) -> None:
        """Refuse a change of an object that another writer has changed since.

        The page compares first; this check finds changes that it had not received yet. A handler that needs certainty
        writes with `expect`, taken from the header.

        Raises:
            Conflict: if there is such an object; names it.
        """
        for (type_, id_), base in bases.items():
            revision = await self._puller.revision(tenant, type_, id_)
            if revision > base:
                raise Conflict(f"{type_} {id_} is at revision {revision}, not {base}")

    async def _refuse(self, message: Msg, error: HeadwayError) -> None:
        await self._respond(message, b"", error_headers(error, remedy=True))

    async def _respond(self, message: Msg, payload: bytes, said: dict[str, str]) -> None:
        try:
            with translating(f"the answer to {message.subject}"):
                await self._bus.nc.publish(message.reply, payload, headers=said or None)
        except HeadwayError as error:
            _log.warning("%s was not answered: %s", message.subject, error)
