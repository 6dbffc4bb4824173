"""The pytest plugin that comes with the package: fixtures `bus` and `nats_broker`.

pytest loads this file in every project that has headway installed, so it imports nothing of headway until a fixture
is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headway.broker.broker import Broker
    from headway.broker.testing import TestBus

if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def bus() -> AsyncIterator[TestBus]:
        """Give a private bus: a real nats-server with the shared streams, for one test."""
        from headway.broker import testing

        async with testing.start() as running:
            yield running

    @pytest_asyncio.fixture
    async def nats_broker() -> AsyncIterator[Broker]:
        """Give a private broker: server, identities and routes, for one test."""
        from headway.broker import testing

        async with testing.broker() as running:
            yield running

else:

    def _missing() -> None:
        pytest.fail("the fixtures of headway need pytest-asyncio: install it", pytrace=False)

    bus = pytest.fixture(_missing, name="bus")
    nats_broker = pytest.fixture(_missing, name="nats_broker")
