"""Files for servers that run elsewhere, in containers or on other machines.

    <out>/<name>/server.json    its configuration: public tokens, no secret of the installation
    <out>/<name>/tls/           its certificate and key for the routes, in a cluster
    <out>/<name>/data/          what it stores

Repeating it keeps everything that is still valid; certificates are renewed before they expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from headway.broker import atomic
from headway.broker.certificates import Authority
from headway.broker.config import Cluster, NatsConfig, RouteTls, render
from headway.broker.errors import StoreCorrupt
from headway.broker.identity import Identities, TrafficPolicy

CLIENT_PORT: Final = 4222
WEBSOCKET_PORT: Final = 4280
ROUTE_PORT: Final = 6222
HEALTH_PORT: Final = 8222
CONFIG: Final = "server.json"
CLUSTER: Final = "headway"
_LONG_AGO: Final = 1
"""Unix second of issue of the tokens in a configuration: whatever was pushed to a server since takes precedence."""


@dataclass(frozen=True, slots=True)
class Node:
    """A server that runs elsewhere.

    Attributes:
        name: its name, by which the other servers reach it, too.
        zone: where it stands; None if there are no zones.
    """

    name: str
    zone: str | None = None


def write(
    identities: Identities,
    keys: Path,
    nodes: Sequence[Node],
    out: Path,
    *,
    home: Path | None = None,
    sync_interval: str = "2m",
    compression: bool = False,
    origins: Sequence[str] = (),
) -> list[Path]:
    """Write the files that each server starts from.

    Args:
        identities: the operator and accounts that they trust.
        keys: directory of the authority that signs their certificates; used for more than one.
        nodes: the servers of one cluster; a single one has no cluster.
        out: parent of each server's directory, which is created if missing.
        home: where each server will find its own directory; None if it stays where it is written.
        sync_interval: as in `headway.broker.config.NatsConfig`.
        compression: likewise.
        origins: likewise.

    Returns:
        the configuration files.

    Raises:
        BadIdentity: if the authority cannot be used.
        StoreCorrupt: if a directory cannot be written.
    """
    authority = Authority.create_or_load(keys) if len(nodes) > 1 else None
    written = []
    for node in nodes:
        here = out.absolute() / node.name
        place = home or here
        cluster = None
        try:
            for directory in (here, here / "tls", here / "data", here / "data" / "ports"):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if authority is not None:
                _certify(authority, node.name, here / "tls")
                cluster = _cluster(nodes, node, place / "tls")
            config = NatsConfig(
                name=node.name,
                store=place / "data",
                trust=identities.trust(TrafficPolicy(issued_at=_LONG_AGO)),
                host="0.0.0.0",  # noqa: S104  # noqa: S104  # access is controlled by tokens and certificates
                port=CLIENT_PORT,
                ws_port=WEBSOCKET_PORT,
                compression=compression,
                origins=tuple(origins),
                sync_interval=sync_interval,
                cluster=cluster,
                zone=node.zone,
                health_port=HEALTH_PORT,
            )
            atomic.write(here / CONFIG, render(config))
        except OSError as error:
            raise StoreCorrupt(f"cannot write {here}: {error.strerror}", remedy="check its owner and mode") from error
        written.append(here / CONFIG)
    return written


def _cluster(nodes: Sequence[Node], node: Node, tls: Path) -> Cluster:
    return Cluster(
        CLUSTER,
        ROUTE_PORT,
        tuple(f"nats://{other.name}:{ROUTE_PORT}" for other in nodes if other != node),
        tls=RouteTls(cert=tls / "server.crt", key=tls / "server.key", ca=tls / "ca.crt"),
        advertise=False,  # clients know the servers by name; container addresses change
        reached=f"{node.name}:{ROUTE_PORT}",
    )


def _certify(authority: Authority, name: str, tls: Path) -> None:
    cert, key = tls / "server.crt", tls / "server.key"
    if not (key.exists() and cert.exists() and authority.holds(cert.read_bytes(), name, datetime.now(UTC))):
        made, secret = authority.issue(name)
        atomic.write(key, secret)
        atomic.write(cert, made)
    atomic.write(tls / "ca.crt", authority.pem)
