"""The landing page at `/`: the installation's services, and how to call them.

    GET /                    the page; the demo instead, where the demo's services run
    GET /headway/services    {"headway", "services"}: names, versions, workers, operations

With an application's own issuer anybody may reach this server, so only the development issuer shows what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError, MissingStream
from headway.clientsync.web.guard import Guard, answer
from headway.clientsync.web.tokens import Verifier
from headway.control.fleet import Fleet
from headway.control.store import Control
from headway.published import Published, ask
from headway.schemas import example

DEMO: Final = frozenset({"calls", "fax", "voicemail"})
"""The services that the demo's page needs."""
_KEPT: Final = 2.0
"""Seconds for which an answer is used again: any number of pages ask."""
_TIMEOUT: Final = 5.0


class Home:
    """The part of `headway web` that serves the landing page; see `headway.clientsync.server.Beside`.

    Args:
        bus: a connection in the role operator.
        pages: directory of the pages.
        shows: whether anybody may see what runs.
    """

    def __init__(self, bus: Bus, pages: Path, *, shows: bool) -> None:
        self.pages: Bus | None = None
        self._bus = bus
        self._pages = pages
        self._shows = shows
        self._control = Control(bus)
        self._fleet = Fleet()
        self._lock = asyncio.Lock()
        self._read_at = -_KEPT
        self._published: list[Published] = []

    def routes(self, guard: Guard, verifier: Verifier) -> Sequence[BaseRoute]:  # noqa: ARG002
        """Return its HTTP routes."""
        shown = [Route("/headway/services", self._services, methods=["GET"])] if self._shows else []
        return [Route("/", self._page, methods=["GET", "HEAD"]), *shown]

    async def run(self) -> None:
        """Follow the workers until cancelled."""
        async with self._fleet.listening(self._bus):
            await asyncio.Event().wait()

    async def _page(self, _: Request) -> Response:
        with contextlib.suppress(HeadwayError, TimeoutError):
            await self._read()
        running = {name for name, record in self._control.services.items() if not record.suspended}
        if running >= DEMO:
            return Response(status_code=307, headers={"Location": "demo/", "Cache-Control": "no-store"})
        return FileResponse(self._pages / "index.html", headers={"Cache-Control": "no-cache"})

    async def _services(self, _: Request) -> Response:
        await self._read()
        described = {one.service: one for one in self._published}
        names = sorted(self._control.services)
        return answer({"headway": version("headway"), "services": [self._service(n, described.get(n)) for n in names]})

    async def _read(self) -> None:
        """Read the records and the workers' schemas, unless that was done a moment ago."""
        async with self._lock:
            if time.monotonic() - self._read_at < _KEPT:
                return
            async with asyncio.timeout(_TIMEOUT):
                with contextlib.suppress(MissingStream):  # nothing was ever declared
                    await self._control.refresh()
                self._published = await ask(self._bus)
            self._read_at = time.monotonic()

    def _service(self, name: str, known: Published | None) -> dict[str, Any]:
        serving = self._fleet.serving(name)
        records = [one for (of, _), one in self._control.versions.items() if of == name and one.phase != "retired"]
        return {
            "name": name,
            "description": known.description if known is not None else "",
            "running": not self._control.services[name].suspended,
            "versions": [
                {"version": one.version, "weight": one.weight, "workers": serving.get(one.version, 0)}
                for one in records
            ],
            "operations": [] if known is None else operations(known),
        }


def operations(known: Published) -> list[dict[str, Any]]:
    """Return the calls and jobs of a service, each with an example of its request."""
    found = []
    for handler, schemas in known.schemas.items():
        kind, _, name = handler.partition(".")
        if kind in {"rpc", "job"}:
            given: Mapping[str, Any] = schemas["input"]
            found.append({"kind": kind, "name": name, "example": example(given)})
    return found
