"""Fixtures of the attacks, and the line that counts them at the end of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator

import pytest

from headway.broker.broker import Broker
from tests.attacks import attacker
from tests.attacks.attempts import PROPERTY, Attempts, total
from tests.attacks.place import Place, opened


@pytest.fixture
def attempts() -> Attempts:
    """Count the attempts of a test, which fails if one of them got through."""
    return Attempts()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    result = yield
    counted = pyfuncitem.funcargs.get("attempts")
    if isinstance(counted, Attempts):
        pyfuncitem.user_properties.append((PROPERTY, [counted.tried, counted.refused]))
        assert counted.tried, "this test made no attempt"
        assert counted.through == []
    return result


@pytest.fixture
async def place(nats_broker: Broker) -> AsyncIterator[Place]:
    """Open an installation with two services, two tenants and something to steal in every store."""
    async with opened(nats_broker) as made:
        yield made


@pytest.fixture
def attack_as(nats_broker: Broker) -> attacker.Connecting:
    """`async with attack_as("worker", service="fax") as fax:` connects with these credentials."""
    return attacker.Connecting(nats_broker)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        (tried, refused)
        for outcome in ("passed", "failed", "xfailed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, counts in report.user_properties
        if name == PROPERTY
        for tried, refused in [counts]
    ]
    if reports:
        terminalreporter.write_line(total(reports))
