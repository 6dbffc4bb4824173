"""The configuration of nats-server, as data. JSON is valid in its configuration language."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
"""Addresses that only programs of the same machine reach."""
MOST_CONNECTIONS: Final = 65_536
"""nats-server's own default."""
_FILES_OF_THE_STORE: Final = 256
FREE_PORT: Final = -1
"""Tells nats-server to take any free port."""
_ZONE: Final = "az:"
"""Prefix of the tag that names a server's zone."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The operator and accounts that a server trusts: public tokens, no secrets.

    Attributes:
        operator: the operator's token.
        system: public key of the system account.
        accounts: token of each account by public key, known from the start.
    """

    operator: str
    system: str
    accounts: dict[str, str]


@dataclass(frozen=True, slots=True)
class RouteTls:
    """TLS between the servers of a cluster; without it any server may join.

    Attributes:
        cert: this server's certificate.
        key: its key.
        ca: certificate of the authority that has signed those of all servers.
    """

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's place in a cluster.

    Attributes:
        name: the cluster's.
        port: where other servers connect.
        routes: URLs of the other servers.
        tls: encrypts the routes and authenticates both ends; None leaves them unencrypted.
        advertise: tell clients the addresses of the other servers; wrong where clients cannot reach these.
        reached: host and port that servers announce for this one; None is its address. With `tls` it has to be the
            name in its certificate: a connection by address fails verification and is retried for ever.
    """

    name: str
    port: int
    routes: tuple[str, ...] = ()
    tls: RouteTls | None = None
    advertise: bool = True
    reached: str | None = None


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """The configuration of one server.

    Attributes:
        name: its name in the cluster, in logs and in errors about routes.
        store: directory of everything it writes.
        trust: the operator and accounts that it trusts.
        host: address it listens on.
        port: for clients; `FREE_PORT` takes any.
        ws_port: for browsers; None for no websocket listener.
        origins: origins of the pages that may use the websocket listener; empty for any. Programs that are no browsers
            name no origin, and are not concerned.
        compression: whether websockets whose clients ask for it are compressed, which browsers do.
        sync_interval: how often stored messages are forced to disk: "always", or a duration such as "2m". What was
            acknowledged since the last time can be lost if the machine (not the process) dies.
        max_payload: largest message in bytes.
        cluster: its place in a cluster; None for a single server.
        zone: where the server stands; copies of a stream are kept in different zones. None has no zones.
        health_port: serves `/healthz` on the loopback; None has none.
        max_connections: connections it takes; None is nats-server's default.
    """

    name: str
    store: Path
    trust: Trust
    host: str = "127.0.0.1"
    port: int = 4222
    ws_port: int | None = FREE_PORT
    origins: tuple[str, ...] = ()
    compression: bool = False
    sync_interval: str = "2m"
    max_payload: int = 1 << 20
    cluster: Cluster | None = field(default=None)
    zone: str | None = None
    health_port: int | None = None
    max_connections: int | None = None


def connections_below(descriptors: int) -> int:
    """Return how many client connections fit a limit of open files; the store needs its share.

    Args:
        descriptors: files that a process may have open; negative for no limit.
    """
    if descriptors < 0:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, descriptors * 3 // 4, descriptors - _FILES_OF_THE_STORE))


def render(config: NatsConfig) -> bytes:
    """Return the content of the configuration file."""
    rendered: dict[str, Any] = {
        "server_name": config.name,
        "host": config.host,
        "port": config.port,
        "ports_file_dir": str(config.store / "ports"),
        "max_payload": config.max_payload,
        "lame_duck_grace_period": "1s",
        "lame_duck_duration": "30s",
        "jetstream": {"store_dir": str(config.store), "sync_interval": config.sync_interval},
        "operator": config.trust.operator,
        "system_account": config.trust.system,
        # The full resolver accepts new account tokens at run time, which is how routes change. A server that was down
        # meanwhile uses the old ones until it has asked the others, which it does at this interval.
        "resolver": {"type": "full", "dir": str(config.store / "jwt"), "allow_delete": False, "interval": "2s"},
        "resolver_preload": config.trust.accounts,
    }
    if config.ws_port is not None:
        rendered["websocket"] = {
            "host": config.host,
            "port": config.ws_port,
            "no_tls": True,
            "compression": config.compression,
        }
        if config.origins:
            rendered["websocket"]["allowed_origins"] = list(config.origins)
    if config.zone is not None:
        rendered["server_tags"] = [f"{_ZONE}{config.zone}"]
        rendered["jetstream"]["unique_tag"] = _ZONE
    if config.max_connections is not None:
        rendered["max_connections"] = config.max_connections
    if config.health_port is not None:
        rendered["http"] = f"127.0.0.1:{config.health_port}"
    if config.cluster is not None:
        rendered["cluster"] = _cluster(config.host, config.cluster)
    return orjson.dumps(rendered, option=orjson.OPT_INDENT_2)


def _cluster(host: str, cluster: Cluster) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "name": cluster.name,
        "host": host,
        "port": cluster.port,
        "routes": list(cluster.routes),
        "no_advertise": not cluster.advertise,
        # A zone that is cut off is given up after three intervals; until then calls go to its workers, too.
        "ping_interval": "3s",
        "ping_max": 2,
    }
    if cluster.reached is not None:
        rendered["advertise"] = cluster.reached
    if cluster.tls is not None:
        tls = cluster.tls
        rendered["tls"] = {
            "cert_file": str(tls.cert),
            "key_file": str(tls.key),
            "ca_file": str(tls.ca),
            "verify": True,
            "timeout": 5,
        }
    return rendered
