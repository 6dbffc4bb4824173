"""The NATS server side: an embedded nats-server, its identities and roles, and the routes of services.

`Broker` combines all of it; tests use `headway.broker.pytest_plugin`. Names are loaded when they are first used,
because pytest loads the plugin (and so this package) in every project that has Headway installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.broker.broker import Broker
    from headway.broker.errors import AlreadyRunning, BadIdentity, NotReady, PortInUse, RouteRefused
    from headway.broker.identity import Credentials, Identities
    from headway.broker.nodes import Node
    from headway.broker.routes import Pusher
    from headway.broker.supervisor import Supervisor

__all__ = [
    "AlreadyRunning",
    "BadIdentity",
    "Broker",
    "Credentials",
    "Identities",
    "Node",
    "NotReady",
    "PortInUse",
    "Pusher",
    "RouteRefused",
    "Supervisor",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "broker": ("Broker",),
            "errors": ("AlreadyRunning", "BadIdentity", "NotReady", "PortInUse", "RouteRefused"),
            "identity": ("Credentials", "Identities"),
            "nodes": ("Node",),
            "routes": ("Pusher",),
            "supervisor": ("Supervisor",),
        },
    )
