"""The service `fax`: job `send` and rpc `status`.

The object `fax/<id>` shows the progress and stores the state of the job. Each step is written by compare-and-set, so a
worker that wakes up after another one has taken over stops at its next step.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

from headway import Conflict, Context, HeadwayError, NotFound, Reject, Retry, Service, WorkerInfo

from . import line as telephone
from .models import FaxConfig, FaxId, FaxState, FaxStatus, SendFax
from .pages import render

FAX = "fax"
RETRY = Retry(attempts=6, backoff=(0.5, 2, 10, 30, 120))

fax = Service(
    "fax",
    config=FaxConfig,
    concurrency=32,  # the number of telephone lines of one worker
    ack_wait=5,  # after this time, another worker resumes a crashed worker's faxes; no page is sent twice
    description="Renders documents into fax pages and sends them.",
)


@fax.resource
async def line(worker: WorkerInfo) -> AsyncIterator[telephone.Line]:
    """Open the worker's telephone line."""
    assert isinstance(worker.config, FaxConfig)
    yield telephone.Line(worker.config)


@fax.job("send", retry=RETRY, timeout=3600)
async def send(request: SendFax, ctx: Context) -> None:
    """Render a document and send it. A redelivered job resumes after the last confirmed page."""
    progress = await Progress.load(request, ctx)
    if progress.status.state is FaxState.SENT:
        return
    try:
        telephone.number(request.to)
        if progress.status.document is None:
            await _render(request, ctx, progress)
        await _transmit(ctx.resource(line), progress)
    except Conflict:
        raise
    except HeadwayError as error:
        final = isinstance(error, Reject) or RETRY.exhausted(ctx.attempt)
        await progress.write(state=FaxState.FAILED if final else FaxState.QUEUED, reason=error.message)
        raise


@fax.rpc("status", timeout=1)
async def status(request: FaxId, ctx: Context) -> FaxStatus:
    """Return the state of a fax, which exists once a worker has started it."""
    found = await ctx.objects.get(FAX, request.fax, as_=FaxStatus)
    if found is None:
        raise Reject(f"there is no fax {request.fax}", remedy="its state exists once a worker has started it")
    return found.value


class Progress:
    """The stored state of one fax, and the last revision that this worker has read or written."""

    def __init__(self, ctx: Context, status: FaxStatus, revision: int) -> None:
        self.status = status
        self._objects = ctx.objects
        self._revision = revision

    @classmethod
    async def load(cls, request: SendFax, ctx: Context) -> Progress:
        """Read the state of a fax, or create it from the request.

        Raises:
            Reject: if its id was used for another document.
        """
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:32]
        found = await ctx.objects.get(FAX, request.fax, as_=FaxStatus)
        if found is None:
            asked = request.model_dump(include={"fax", "to", "sender"})
            return cls(ctx, FaxStatus(**asked, digest=digest, state=FaxState.QUEUED, at=time.time()), 0)
        if found.value.digest != digest:
            raise Reject(f"the id {request.fax} belongs to another document", remedy="use a new id")
        return cls(ctx, found.value, found.revision)

    async def write(self, **changes: Any) -> None:
        """Store a step.

        Raises:
            Conflict: if another worker processes this fax; then this one stops.
        """
        changed = self.status.model_copy(update={**changes, "at": time.time()})
        try:
            self._revision = await self._objects.put(FAX, changed.fax, changed, expect=self._revision)
        except Conflict as error:
            raise Conflict(f"another worker processes fax {changed.fax}", remedy="it will finish the fax") from error
        self.status = changed


async def _render(request: SendFax, ctx: Context, progress: Progress) -> None:
    """Render the pages in a thread and store them as one blob."""
    await progress.write(state=FaxState.RENDERING, reason=None)
    images = [await _picture(ctx, number, p.data, p.blob) for number, p in enumerate(request.images, 1)]
    config = ctx.config(FaxConfig)
    head = "   ".join(part for part in (config.banner, request.sender, f"to {request.to}") if part)
    document = await asyncio.to_thread(render, request.text, images, head, config)
    name = f"fax/{request.fax}.tiff"
    await ctx.blobs.put(name, document.tiff, content_type="image/tiff")
    await progress.write(document=name, pages=len(document.sizes), sizes=document.sizes)


async def _picture(ctx: Context, number: int, data: bytes | None, blob: str | None) -> bytes:
    if data is not None:
        return data
    assert blob is not None
    try:
        return await ctx.blobs.get(blob)
    except NotFound as error:
        raise Reject(f"image {number}: there is no blob {blob}", remedy="store it before sending") from error


async def _transmit(over: telephone.Line, progress: Progress) -> None:
    """Dial and send the pages that are not confirmed yet."""
    dial = progress.status.dials + 1
    await progress.write(state=FaxState.DIALING, dials=dial, reason=None)
    await over.dial(progress.status.fax, dial)
    await progress.write(state=FaxState.SENDING)
    for page in range(progress.status.page, progress.status.pages):
        await over.send_page(progress.status.sizes[page])
        done = page + 1 == progress.status.pages
        await progress.write(page=page + 1, state=FaxState.SENT if done else FaxState.SENDING)
