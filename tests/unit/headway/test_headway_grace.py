"""What a version starts with: how long a worker may drain, and which workers get the processor first."""

from __future__ import annotations

import pytest

from headway import Service
from headway.config import Config, ServiceConfig
from headway.declare import _version


@pytest.mark.parametrize(
    ("own", "given", "expected"), [(None, None, None), (None, 5.0, 5.0), (300.0, None, 300.0), (300.0, 5.0, 300.0)]
)
def test_the_services_own_grace_goes_before_that_of_the_command(own, given, expected):
    wanted = ServiceConfig(app="app:app", grace=own)
    assert _version(Config(services={"app": wanted}), Service("app"), wanted, given).grace == expected


def test_the_longest_job_or_event_is_what_a_worker_waits_for():
    app = Service("app")
    assert app.longest == 0

    @app.rpc("ask", timeout=500)
    async def ask(request: int) -> int:
        return request

    @app.job("short", timeout=50)
    async def short(request: int) -> None: ...

    @app.on("rung", timeout=90)
    async def rung(request: int) -> None: ...

    assert app.longest == 90


@pytest.mark.parametrize(
    ("handler", "own", "expected"),
    [("rpc", None, "high"), ("job", None, "low"), ("on", None, "low"), ("job", "high", "high"), ("rpc", "low", "low")],
)
def test_services_with_jobs_or_events_yield_to_those_that_only_answer_calls(handler, own, expected):
    app = Service("app")

    async def work(request: int) -> None: ...

    getattr(app, handler)("work")(work)
    wanted = ServiceConfig(app="app:app", priority=own)
    assert _version(Config(services={"app": wanted}), app, wanted, None).priority == expected
