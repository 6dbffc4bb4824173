"""Fixtures of the command's tests; what they are made of is in tests/support/headway_process.py."""

from __future__ import annotations

import pytest

from tests.support.headway_process import eventually as _eventually
from tests.support.headway_process import fresh, up

__all__ = ["eventually", "fresh", "up"]


@pytest.fixture
def eventually():
    """`eventually(lambda: ...)`: wait until a condition holds, and return what it said."""
    return _eventually
