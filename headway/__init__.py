"""Headway: Python microservices on a NATS message bus.

    from headway import Context, Retry, Service

    fax = Service("fax")

    @fax.job("send", retry=Retry(attempts=5))
    async def send(request: SendFax, ctx: Context) -> None: ...

This package exports what the author of a service imports. Names are loaded on first use: pytest imports this package
in every project that has Headway installed, and `headway --help` needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.bus import (
        Beat,
        Blobs,
        BrokerError,
        Bus,
        CallError,
        ConfigError,
        Conflict,
        ConnectionFailed,
        Context,
        DeadlineExceeded,
        DeclarationDrift,
        DeclarationError,
        HeadwayError,
        InvalidInput,
        InvalidSubject,
        MissingStream,
        NotFound,
        NotServed,
        NotStored,
        Object,
        Objects,
        Overloaded,
        QueueFull,
        RateLimited,
        Receipt,
        Reject,
        Rejected,
        RemoteError,
        Retry,
        Service,
        StoreError,
        Tenant,
        Tick,
        TooLarge,
        Unavailable,
        UsageError,
        User,
        Worker,
        WorkerInfo,
        connect,
    )

__all__ = [
    "Beat",
    "Blobs",
    "BrokerError",
    "Bus",
    "CallError",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "Context",
    "DeadlineExceeded",
    "DeclarationDrift",
    "DeclarationError",
    "HeadwayError",
    "InvalidInput",
    "InvalidSubject",
    "MissingStream",
    "NotFound",
    "NotServed",
    "NotStored",
    "Object",
    "Objects",
    "Overloaded",
    "QueueFull",
    "RateLimited",
    "Receipt",
    "Reject",
    "Rejected",
    "RemoteError",
    "Retry",
    "Service",
    "StoreError",
    "Tenant",
    "Tick",
    "TooLarge",
    "Unavailable",
    "UsageError",
    "User",
    "Worker",
    "WorkerInfo",
    "connect",
]


if not TYPE_CHECKING:
    from headway import lazy

    __getattr__, __dir__ = lazy.exports(__name__, {"bus": __all__})
