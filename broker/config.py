"""The configuration of nats-server, as data; JSON is a form of its configuration language."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

FREE_PORT: Final = -1
"""Tells nats-server to take any free port."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a server believes: public tokens, no secrets.

    Attributes:
        operator: the operator's token.
        system: public key of the system account.
        accounts: token of each account by public key, known from the start.
    """

    operator: str
    system: str
    accounts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's place in a cluster.

    Attributes:
        name: the cluster's.
        port: where other servers connect.
        routes: URLs of the other servers.
    """

    name: str
    port: int
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told.

    Attributes:
        name: its name in the cluster, in logs and in errors about routes.
        store: directory of everything it writes.
        trust: whom it believes.
        host: address it listens on.
        port: for clients; `FREE_PORT` takes any.
        ws_port: for browsers; None for no websocket listener.
        sync_interval: how often stored messages are forced to disk: "always", or a duration such as "2m". What was
            acknowledged since the last time can be lost if the machine (not the process) dies.
        max_payload: largest message in bytes.
        cluster: other servers, if there are any.
    """

    name: str
    store: Path
    trust: Trust
    host: str = "127.0.0.1"
    port: int = 4222
    ws_port: int | None = FREE_PORT
    sync_interval: str = "2m"
    max_payload: int = 1 << 20
    cluster: Cluster | None = field(default=None)


def render(config: ServerConfig) -> bytes:
    """The configuration file."""
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
        # The full resolver takes new account tokens at run time, which is how routes change.
        "resolver": {"type": "full", "dir": str(config.store / "jwt"), "allow_delete": False, "interval": "2m"},
        "resolver_preload": config.trust.accounts,
    }
    if config.ws_port is not None:
        rendered["websocket"] = {"host": config.host, "port": config.ws_port, "no_tls": True, "compression": True}
    if config.cluster is not None:
        rendered["cluster"] = {
            "name": config.cluster.name,
            "host": config.host,
            "port": config.cluster.port,
            "routes": list(config.cluster.routes),
        }
    return orjson.dumps(rendered, option=orjson.OPT_INDENT_2)
