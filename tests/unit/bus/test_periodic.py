"""Declaring periodic jobs."""

from __future__ import annotations

import pytest

from headway import Context, DeclarationError, Service, Tick
from headway.bus.errors import InvalidSubject
from headway.bus.wire.periodic import PeriodicJob


def test_a_service_knows_when_its_periodic_jobs_run():
    app = Service("app")

    @app.cron("0 3 * * mon-fri", tz="Europe/Berlin")
    async def nightly_report(tick: Tick) -> None: ...

    @app.every(30, name="poll", missed="run-all")
    def poll_now(tick: Tick, ctx: Context) -> None: ...

    assert app.periodic == (
        PeriodicJob(name="nightly-report", cron="0 3 * * mon-fri", tz="Europe/Berlin"),
        PeriodicJob(name="poll", every=30, missed="run-all"),
    )
    assert [job.when for job in app.periodic] == ["0 3 * * mon-fri Europe/Berlin", "every 30 s"]
    assert {handler.name for handler in app.handlers} == {"nightly-report", "poll"}


@pytest.mark.parametrize("expression", ["", "0 3 * *", "61 * * * *", "0 3 30 2 *", "soon"])
def test_an_expression_that_never_fires_is_refused(expression):
    with pytest.raises(DeclarationError):

        @Service("app").cron(expression)
        async def nightly(tick: Tick) -> None: ...


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../../etc/passwd"])
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(DeclarationError, match="time zone"):

        @Service("app").cron("0 3 * * *", tz=zone)
        async def nightly(tick: Tick) -> None: ...


@pytest.mark.parametrize("seconds", [0, 0.5, -1, float("nan"), 400 * 86_400])
def test_an_interval_that_cannot_be_meant_is_refused(seconds):
    with pytest.raises(DeclarationError):

        @Service("app").every(seconds)
        async def poll(tick: Tick) -> None: ...


def test_a_handler_that_takes_no_tick_is_refused():
    with pytest.raises(DeclarationError, match="takes no Tick"):

        @Service("app").every(30)
        async def poll(request: int) -> None: ...


def test_two_jobs_of_one_name_are_refused():
    app = Service("app")

    @app.job("poll")
    async def poll_one(request: int) -> None: ...

    with pytest.raises(DeclarationError, match="two handlers"):

        @app.every(30)
        async def poll(tick: Tick) -> None: ...


def test_a_name_that_is_no_token_is_refused():
    with pytest.raises(InvalidSubject):

        @Service("app").every(30, name="a.b")
        async def poll(tick: Tick) -> None: ...
