"""Faxes of one act of the demo: submitted, and observed to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from nats.aio.msg import Msg

from headway.bus.client.bus import Bus, Tenant
from headway.bus.wire import subjects
from headway.demo.progress import DemoProgress
from headway.demo.switchboard import PATIENCE


class Faxes:
    """Counts them.

    Args:
        prefix: prefix of their ids, which differs by act.
        progress: receives what to show.

    Attributes:
        submitted: stored by JetStream.
        sent: observed to be sent, by tenant and id.
    """

    def __init__(self, prefix: str, progress: DemoProgress) -> None:
        self._progress = progress
        self._prefix = f"{prefix}-"
        self._changed = asyncio.Event()
        self.submitted = 0
        self.sent: set[tuple[str, str]] = set()

    @asynccontextmanager
    async def watching(self, bus: Bus) -> AsyncIterator[None]:
        """Observe sent faxes inside the block."""
        changes = await bus.nc.subscribe("live.*.fax.*", cb=self._on_change)
        try:
            yield
        finally:
            await changes.unsubscribe()

    async def submit(self, client: Tenant, number: int) -> None:
        """Submit one fax."""
        id_ = f"{self._prefix}{number}"
        request = {"fax": id_, "to": f"+49 40 {100000 + number}", "from": "+49 30 999", "text": f"Offer {number}.\n"}
        await client.submit("fax", "send", request, key=id_, timeout=PATIENCE)
        self.submitted += 1
        self._progress.sent[client.tenant] += 1

    async def room(self, most: int) -> None:
        """Wait until fewer than `most` submitted faxes are still unsent."""
        while self.submitted - len(self.sent) >= most:
            self._changed.clear()
            await self._changed.wait()

    async def all_sent(self) -> None:
        """Wait until all submitted faxes have been sent."""
        await self.room(1)

    async def _on_change(self, message: Msg) -> None:
        tenant, _, id_ = subjects.parse_live(message.subject)
        if id_.startswith(self._prefix) and message.data and orjson.loads(message.data).get("state") == "sent":
            if (tenant, id_) not in self.sent:
                self._progress.done[tenant] += 1
            self.sent.add((tenant, id_))
            self._changed.set()
