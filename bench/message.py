"""The message that all contenders send, and its subjects."""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import BaseModel

SERVICE: Final = "bench"
VERSION: Final = "v1"
TENANTS: Final = 64
"""Enough tenants that the server's hash puts some into each of the 8 common lanes."""


class Order(BaseModel):
    """The payload of a typical small job or request."""

    number: int
    customer: str
    pages: int
    priority: str


class Answer(BaseModel):
    """The reply to a request."""

    number: int
    accepted: bool


def order(number: int) -> bytes:
    """Return the payload with this number."""
    return orjson.dumps(Order(number=number, customer="acme-4711", pages=3, priority="normal").model_dump())


def tenant(number: int) -> str:
    """Return the tenant of the message with this number."""
    return f"tenant-{number % TENANTS}"
