"""The one message all contenders send, and the subjects it travels on."""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import BaseModel

SERVICE: Final = "bench"
VERSION: Final = "v1"
TENANTS: Final = 64
"""Enough that the server's hash of the tenant puts some into each of the 16 lanes."""


class Order(BaseModel):
    """A job or a request: what a small one looks like."""

    number: int
    customer: str
    pages: int
    priority: str


class Answer(BaseModel):
    """The reply to a request."""

    number: int
    accepted: bool


def order(number: int) -> bytes:
    """The payload with this number."""
    return orjson.dumps(Order(number=number, customer="acme-4711", pages=3, priority="normal").model_dump())


def tenant(number: int) -> str:
    """The tenant of the message with this number."""
    return f"tenant-{number % TENANTS}"
