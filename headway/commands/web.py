"""`headway web`: sessions, changes, beacons and presence for browsers, pages, and the operator's console."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from headway import endpoint
from headway.broker.broker import Broker
from headway.broker.errors import PortInUse
from headway.bus.errors import UsageError
from headway.clientsync import server
from headway.clientsync.server import Beside, Options
from headway.clientsync.web.tokens import Rules
from headway.commands import options
from headway.commands.base import examples, run
from headway.console.access import Roles
from headway.console.home import Home
from headway.console.web import Console
from headway.controlprocess import running


@click.command(
    epilog=examples(
        "headway web --dev-issuer                                  # for trying it: anybody can sign in as anyone",
        "headway web --issuer https://login.example.com/ --audience sync --allow-origin https://app.example.com",
    )
)
@options.directory
@options.url
@click.option(
    "--ws-url",
    envvar="HEADWAY_WS_URL",
    show_envvar=True,
    help="Address where pages reach the server. [default: that of `headway up`]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8480,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--issuer", help="Issuer of your application's tokens (`iss`).")
@click.option("--audience", help="Required audience of the tokens (`aud`).")
@click.option("--jwks-url", help="URL of the issuer's keys. [default: by OIDC discovery]")
@click.option("--tenant-claim", default="tenant", show_default=True, help="The claim that names the tenant.")
@click.option("--user-claim", default="sub", show_default=True, help="The claim that names the user.")
@click.option(
    "--pass-claim",
    "passed",
    multiple=True,
    metavar="CLAIM",
    help="A further claim that services are told, in `ctx.user`. Can be repeated.",
)
@click.option("--console/--no-console", default=True, show_default=True, help="Serve the operator's console.")
@click.option("--role-claim", default="role", show_default=True, help="The claim that names roles or groups.")
@click.option("--viewer-role", default="viewer", show_default=True, help="The role that may see the console.")
@click.option("--operator-role", default="operator", show_default=True, help="The role that may replay and steer, too.")
@click.option("--admin-role", default="admin", show_default=True, help="The role that may discard, too.")
@click.option("--dev-issuer", is_flag=True, help="Give anybody a token for any user. For trying things out.")
@click.option(
    "--loopback-published",
    "published",
    is_flag=True,
    help="Confirm that this runs in a container whose port is published on 127.0.0.1 only.",
)
@click.option(
    "--pages",
    "own",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Directory of your own pages, served at /.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Another origin whose pages may use this server. Can be repeated.",
)
@click.option(
    "--proxies",
    metavar="ADDRESSES",
    help="Trusted reverse proxies (for X-Forwarded-For): addresses joined by commas.",
)
@click.option(
    "--session",
    "lifetime",
    type=float,
    default=600.0,
    show_default=True,
    help="Lifetime of a session in seconds; pages renew it.",
)
def web(
    *,
    directory: Path,
    url: str | None,
    ws_url: str | None,
    host: str,
    port: int,
    issuer: str | None,
    audience: str | None,
    jwks_url: str | None,
    tenant_claim: str,
    user_claim: str,
    passed: tuple[str, ...],
    console: bool,
    role_claim: str,
    viewer_role: str,
    operator_role: str,
    admin_role: str,
    dev_issuer: bool,
    published: bool,
    own: Path | None,
    origins: tuple[str, ...],
    proxies: str | None,
    lifetime: float,
) -> int:
    """Serve browsers: sessions, changes and pages.

    It runs until SIGTERM or Ctrl-C. Any number of these processes can run side by side.
    """
    found = endpoint.find(url, None, directory)
    reached = ws_url or (found.running.ws_url if found.running else None)
    if reached is None:
        raise UsageError("the address where pages reach the server is unknown", remedy="give it with --ws-url")
    if (issuer is None) != (audience is None):
        raise UsageError("--issuer and --audience go together", remedy="give both, as in your tokens")
    rules = Rules(issuer, audience, tenant_claim, user_claim, passed=passed) if issuer and audience else None
    settings = Options(
        ws_url=reached,
        host=host,
        port=port,
        rules=rules,
        jwks_url=jwks_url,
        development=dev_issuer,
        published=published,
        own=own,
        origins=origins,
        proxies=proxies,
        lifetime=lifetime,
    )
    server.check(settings)
    # A user who gets arbitrary claims from the development issuer must not become an operator.
    roles = Roles(role_claim, viewer_role, operator_role, admin_role) if rules is not None else None
    try:
        return run(_serve(found.url, directory, settings, roles, console=console))
    except PortInUse as error:
        raise PortInUse(error.message, remedy="stop what listens there, or choose another port with --port") from error


async def _serve(url: str, directory: Path, settings: Options, roles: Roles | None, *, console: bool) -> None:
    broker = Broker.external(url, dir=directory)
    with running("web", command="web") as stop:
        try:
            async with (
                _beside(broker, settings, roles, console=console) as beside,
                server.serving(broker, settings, beside) as at,
            ):
                with endpoint.announced(directory, at):
                    click.echo(f"ready: client sync at {at}, pages connect to {settings.ws_url}")
                    await stop.wait()
        finally:
            await broker.close()
    click.echo("stopped", err=True)


@asynccontextmanager
async def _beside(
    broker: Broker, settings: Options, roles: Roles | None, *, console: bool
) -> AsyncIterator[list[Beside]]:
    """Yield the console, if it is enabled, and the landing page, unless `/` is an application's own page."""
    if not console:
        yield []
        return
    holder = f"{os.uname().nodename}-{os.getpid()}"
    async with await broker.connect("operator", name="headway-console") as bus:
        home = [] if settings.own is not None else [Home(bus, settings.pages, shows=settings.development)]
        yield [
            *home,
            Console(broker, bus, ws_url=settings.ws_url, holder=holder, roles=roles, lifetime=settings.lifetime),
        ]
