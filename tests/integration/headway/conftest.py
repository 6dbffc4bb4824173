"""Fixtures of the command's tests; what they are made of is in integration_headway.py."""

from __future__ import annotations

import pytest
from integration_headway import eventually as _eventually
from integration_headway import fresh, up

__all__ = ["eventually", "fresh", "up"]


@pytest.fixture
def eventually():
    """`eventually(lambda: ...)`: wait until a condition holds, and return what it said."""
    return _eventually
