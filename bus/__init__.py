"""Headway's bus: the API for writing services.

from headway.bus import Context, Retry, Service

fax = Service("fax")

@fax.job("send", retry=Retry(attempts=5))
async def send(request: SendFax, ctx: Context) -> None: ...
"""

from headway.bus.client.blobs import Blobs
from headway.bus.client.bus import Bus, Receipt, Tenant
from headway.bus.client.connection import connect
from headway.bus.client.objects import Object, Objects
from headway.bus.context import Context
from headway.bus.errors import (
    BrokerError,
    CallError,
    ConfigError,
    Conflict,
    ConnectionFailed,
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
    Overloaded,
    QueueFull,
    RateLimited,
    Reject,
    Rejected,
    RemoteError,
    StoreError,
    TooLarge,
    Unavailable,
    UsageError,
)
from headway.bus.retry import Retry
from headway.bus.service import Service, WorkerInfo
from headway.bus.wire.beat import Beat
from headway.bus.wire.periodic import Tick
from headway.bus.wire.proof import User
from headway.bus.worker.worker import Worker

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
