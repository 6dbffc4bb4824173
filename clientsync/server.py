"""Client sync as one process: HTTP, answers to pages, beacons, presence. Any number of instances may run.

async with serving(broker, options) as url:
    ...                        # the pages are served
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from headway.broker.broker import Broker
from headway.broker.config import LOOPBACK
from headway.broker.errors import PortInUse
from headway.bus import tasks
from headway.bus.client.bus import Bus
from headway.bus.errors import ConfigError
from headway.bus.nats.streams import TOMBSTONES
from headway.clientsync import beacons
from headway.clientsync.beacons import Beacons
from headway.clientsync.metrics import SyncMetrics
from headway.clientsync.objects import Store
from headway.clientsync.presence import Presence
from headway.clientsync.proofs import Proofs
from headway.clientsync.pull import Puller
from headway.clientsync.responder import Responder
from headway.clientsync.tail import POLL, Tail
from headway.clientsync.web import sessions
from headway.clientsync.web.app import Health, Site, application
from headway.clientsync.web.connections import Admission, Bounds, protocol
from headway.clientsync.web.devissuer import DevelopmentIssuer
from headway.clientsync.web.guard import Guard, RateLimits
from headway.clientsync.web.sessions import Sessions
from headway.clientsync.web.tokens import RemoteKeys, Rules, Verifier

PAGES: Final = Path(__file__).parent / "browser" / "dist"
_HEADERS_BYTES: Final = 32 * 1024
_CLOSING: Final = 3


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of client sync.

    Attributes:
        ws_url: websocket URL at which pages connect to nats-server.
        host, port: address that HTTP listens on; port 0 chooses a free one.
        rules: which tokens of the application are valid; None with only the development issuer.
        jwks_url: URL of the issuer's keys; found by OIDC discovery if None.
        development: whether to enable the development issuer.
        published: whether `host` is in a container whose port is published only on its machine's loopback.
        origins: other origins whose pages may use this server.
        proxies: addresses of proxies whose `X-Forwarded-For` is trusted, in uvicorn's form.
        lifetime: seconds that a session lasts.
        tombstones: seconds that deleted objects' tombstones stay.
        beacon_every, poll: seconds between beacons, and between reads of the stream.
        pages: directory of the pages.
        own: directory of the application's own pages, which come first; None without any.
        limits: rate limits of HTTP requests.
        bounds: bounds of HTTP connections.
    """

    ws_url: str
    host: str = "127.0.0.1"
    port: int = 8480
    rules: Rules | None = None
    jwks_url: str | None = None
    development: bool = False
    published: bool = False
    origins: tuple[str, ...] = ()
    proxies: str | None = None
    lifetime: float = sessions.LIFETIME
    tombstones: float = TOMBSTONES
    beacon_every: float = beacons.EVERY
    poll: float = POLL
    pages: Path = PAGES
    own: Path | None = None
    limits: RateLimits = field(default_factory=RateLimits)
    bounds: Bounds = field(default_factory=Bounds)


class Beside(Protocol):
    """Something that is served in addition to the pages, such as the operator's console.

    Attributes:
        pages: a connection to the account of its own pages, whose requests are answered, too; None if it has none.
    """

    pages: Bus | None

    def routes(self, guard: Guard, verifier: Verifier) -> Sequence[BaseRoute]:
        """Return its routes.

        Args:
            guard: admits requests.
            verifier: checks the application's tokens.
        """
        ...

    async def run(self) -> None:
        """Run until cancelled."""
        ...


def check(options: Options) -> None:
    """Check the settings.

    Raises:
        ConfigError: if they are invalid; names the problem.
    """
    if options.rules is None and not options.development:
        raise ConfigError(
            "no issuer of tokens is configured",
            remedy="give --issuer and --audience of your application's tokens, or try it with --dev-issuer",
        )
    if options.rules is not None and options.development:
        raise ConfigError("--dev-issuer lets anybody sign in as anyone", remedy="do not combine it with --issuer")
    if options.development and options.host not in LOOPBACK and not options.published:
        raise ConfigError(
            f"the development issuer lets anybody sign in, and others may reach {options.host}",
            remedy="listen on 127.0.0.1",
        )
    if urlsplit(options.ws_url).scheme not in ("ws", "wss"):
        raise ConfigError(f"{options.ws_url!r} is not a websocket URL", remedy="write wss://sync.example.com")
    for origin in options.origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            raise ConfigError(f"{origin!r} is not an origin", remedy="write https://app.example.com, without a path")


@asynccontextmanager
async def serving(broker: Broker, options: Options, beside: Sequence[Beside] = ()) -> AsyncIterator[str]:
    """Run client sync until the block is left; yield its HTTP URL.

    Args:
        broker: the server, with the keys of the installation.
        options: the settings.
        beside: what else to serve.

    Raises:
        ConfigError: if the settings are invalid.
        PortInUse: if the port is in use.
        ConnectionFailed, NoAuthority: if the server cannot be used.
    """
    check(options)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_listen(options.host, options.port))
        bus = await stack.enter_async_context(await broker.connect("web", name="headway-web"))
        client = await stack.enter_async_context(httpx.AsyncClient())
        metrics = SyncMetrics()
        presence = Presence(broker, bus, metrics)
        proofs = Proofs(broker.identities)
        pages = _Answers(bus, presence, metrics, options, proofs, lambda: presence.tenants)
        others = [
            _Answers(one.pages, presence, metrics, options, proofs, set) for one in beside if one.pages is not None
        ]

        def health() -> dict[str, Any]:
            return {"connected": bus.nc.is_connected, "position": pages.tail.position, **pages.responder.load}

        admission = Admission[Any](options.bounds, options.proxies)
        web = _Http(_application(broker, options, metrics, health, client, beside, admission), options, admission)
        async with tasks.group() as group:
            parts = [
                group.create_task(part)
                for part in (
                    presence.run(),
                    *(part for answers in (pages, *others) for part in answers.parts()),
                    *(one.run() for one in beside),
                )
            ]
            serving_http = group.create_task(web.serve(sockets=[listening]))
            try:
                for answers in (pages, *others):
                    await answers.ready.wait()
                yield _url(listening)
            finally:
                # First stop admitting pages, then stop answering requests.
                web.should_exit = True
                await asyncio.wait((serving_http,), timeout=_CLOSING + 1)
                await asyncio.gather(*(answers.responder.leave() for answers in (pages, *others)))
                await tasks.end([*parts, serving_http])


class _Answers:
    """Answers the pages of one account, and sends them beacons.

    Args:
        bus: a connection to the account.
        presence: provides the users online.
        metrics: records each request.
        options: the settings.
        proofs: proves the users of jobs.
        online: returns the tenants that are active without changes or requests.
    """

    def __init__(
        self,
        bus: Bus,
        presence: Presence,
        metrics: SyncMetrics,
        options: Options,
        proofs: Proofs,
        online: Callable[[], set[str]],
    ) -> None:
        store = Store(bus.js)
        self.tail = Tail(store, tombstones=options.tombstones, poll=options.poll)
        self.responder = Responder(bus, Puller(store, self.tail), presence, metrics, proofs)
        self.ready = asyncio.Event()
        self._online = online
        self._beacons = Beacons(bus.publish, self.tail, self._active, every=options.beacon_every)

    def parts(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what runs until cancelled; `ready` is set once requests are accepted."""
        return (self.tail.run(), self._beacons.run(), self.responder.run(self.ready))

    def _active(self) -> set[str]:
        return self._online() | self.responder.active(time.monotonic() - beacons.ACTIVE)


def _application(
    broker: Broker,
    options: Options,
    metrics: SyncMetrics,
    health: Health,
    client: httpx.AsyncClient,
    beside: Sequence[Beside],
    admission: Admission[Any],
) -> ASGIApp:
    issuer = DevelopmentIssuer() if options.development else None
    if issuer is not None:
        verifier = Verifier(issuer.rules, issuer)
    else:
        assert options.rules is not None  # guaranteed by `check`
        verifier = Verifier(options.rules, RemoteKeys(options.rules.issuer, options.jwks_url, client))
    named = {name for origin in options.origins if (name := urlsplit(origin).hostname)}
    # With the development issuer, prevent DNS rebinding: a foreign page whose host name resolves to this server.
    hosts = LOOPBACK | named if issuer is not None else None
    guard = Guard(options.limits, options.origins, hosts, admission.signed_in)
    return application(
        Site(
            guard=guard,
            verifier=verifier,
            sessions=Sessions(broker, metrics, lifetime=options.lifetime),
            ws_url=options.ws_url,
            health=health,
            issuer=issuer,
            origins=options.origins,
            pages=options.pages,
            own=options.own,
            more=[route for one in beside for route in one.routes(guard, verifier)],
        )
    )


class _Http(uvicorn.Server):
    """uvicorn without signal handling: its owner stops it."""

    def __init__(self, app: ASGIApp, options: Options, admission: Admission[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol(admission),  # type: ignore[arg-type]  # a factory serves as well as a class
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                proxy_headers=options.proxies is not None,
                forwarded_allow_ips=options.proxies,
                h11_max_incomplete_event_size=_HEADERS_BYTES,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_CLOSING,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise PortInUse(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    with listening:
        yield listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
