"""The fixture `place`: see tests/support/deployer_place.py."""

from __future__ import annotations

import pytest

from tests.support.deployer_place import Place


@pytest.fixture
async def place(nats_broker, until):
    async with await nats_broker.connect("operator") as bus, Place.beside(nats_broker, bus, until) as made:
        yield made
