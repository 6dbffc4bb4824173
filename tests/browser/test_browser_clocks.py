"""A browser whose clock is wrong: nothing of a store depends on its agreeing with the server's."""

from __future__ import annotations

import asyncio
import time

import pytest

from headway import Context, Service

_CLOCK = """
const Real = Date;
window.Date = class extends Real {
  constructor(...given) { given.length === 0 ? super(Real.now() + SKEW) : super(...given); }
  static now() { return Real.now() + SKEW; }
};
"""
SKEWS = (-3600.0, -11.0, 11.0, 660.0, 3600.0)


async def skewed(site, skew: float, **options):
    """A tab whose wall clock is off by so many seconds, and the requests for a session that it makes."""
    tab = await site.tab(init=_CLOCK.replace("SKEW", str(skew * 1000)))
    sessions = []
    tab.page.on("request", lambda request: sessions.append(request.url) if request.url.endswith("/session") else None)
    await tab.open("note", **options)
    await tab.current()
    return tab, sessions


@pytest.mark.parametrize("skew", SKEWS)
async def test_one_session_is_enough_calls_work_and_the_servers_time_is_known(site, bus, skew):
    echo = Service("echo")

    @echo.rpc("say", timeout=5)
    async def say(word: str, ctx: Context) -> str:
        return word

    async with bus.serving(echo):
        tab, sessions = await skewed(site, skew)
        for n in range(12):
            assert await tab.run(f"store.call('echo', 'say', 'hello', {{timeout: 2000, key: 'k{n}'}})") == "hello"
            await asyncio.sleep(0.25)
        assert abs(await tab.run("store.now()") / 1000 - time.time()) < 1.0
        assert abs(await tab.run("Date.now()") / 1000 - time.time() - skew) < 1.0, "the clock was not wrong"
        assert len(sessions) == 1
        assert await tab.run("store.stats().connects") == 1


@pytest.mark.parametrize("skew", [-660.0, 660.0])
async def test_a_token_is_renewed_in_time_and_no_more_often(site, acme, skew):
    await site.stop()
    await site.start(lifetime=5.0)
    tab, sessions = await skewed(site, skew)
    began = time.monotonic()
    await asyncio.sleep(10)
    took = time.monotonic() - began
    assert took / 5.5 <= len(sessions) <= took / 3.5 + 1
    await acme.objects.put("note", "a", {"n": 1})
    await tab.until("store.get('note', 'a')")
    assert "stored" not in (await tab.run("statuses"))[1:], "it was disconnected in between"


async def test_a_clock_that_steps_back_while_work_waits_changes_nothing(site, bus, until):
    done: list[str] = []
    chores = Service("chores")

    @chores.job("do")
    async def do(request: dict, ctx: Context) -> None:
        done.append(request["id"])

    tab, _ = await skewed(site, 0.0)
    site.link.cut()
    await tab.until("store.status === 'stored'")
    await tab.run("store.submit('chores', 'do', {id: 'first'}, {order: 'x'}).catch(() => {}), 0")
    await tab.run("(() => { const real = Date.now; Date.now = () => real() - 3_600_000; })()")
    await tab.run("store.submit('chores', 'do', {id: 'second'}, {order: 'x'}).catch(() => {}), 0")
    await tab.until("store.pending.length === 2")
    await tab.page.reload()
    await tab.open("note")
    async with bus.serving(chores):
        site.link.mend()
        await tab.until("store.pending.length === 0")
        await until(lambda: len(done) == 2)
    assert done == ["first", "second"]
