"""Several tabs of one browser: one connection, handed over when its tab closes, freezes or hangs."""

from __future__ import annotations

import asyncio


async def pair(site):
    context = await site.context()
    first = await site.tab(context)
    await first.open("note")
    await first.current()
    second = await site.tab(context)
    await second.open("note")
    await second.current()
    return first, second


async def test_two_tabs_have_one_connection_and_both_follow(site, acme):
    first, second = await pair(site)
    assert await first.run("store.stats().role") == "leader"
    assert await second.run("store.stats().role") == "follower"
    assert site.link.accepted == 1
    await acme.objects.put("note", "a", {"n": 1})
    for tab in (first, second):
        await tab.until("store.get('note', 'a')?.n === 1")
    assert site.link.accepted == 1


async def test_when_the_tab_with_the_connection_closes_another_takes_over_and_misses_nothing(site, acme):
    first, second = await pair(site)
    await first.page.close()
    await acme.objects.put("note", "a", {"n": 1})
    await second.until("store.stats().role === 'leader' && store.status === 'current'")
    assert await second.run("store.get('note', 'a').n") == 1
    assert site.link.accepted == 2


async def test_before_it_is_frozen_it_hands_over_and_it_follows_once_it_is_thawed(site, acme):
    first, second = await pair(site)
    # Headless pages are always visible, and never frozen: they are told so.
    await first.run("document.dispatchEvent(new Event('freeze'))")
    await second.until("store.stats().role === 'leader' && store.status === 'current'")
    await acme.objects.put("note", "a", {"n": 1})
    await second.until("store.get('note', 'a')")
    await first.run("document.dispatchEvent(new Event('resume'))")
    await first.until("store.stats().role === 'follower' && store.status === 'current'")
    assert await first.run("store.get('note', 'a').n") == 1


async def test_when_it_hangs_its_connection_is_taken_away(site, acme):
    first, second = await pair(site)
    await second.page.bring_to_front()
    hanging = asyncio.ensure_future(
        first.run("() => { const end = Date.now() + 8000; while (Date.now() < end); return true; }")
    )
    await second.until("store.stats().role === 'leader' && store.status === 'current'")
    assert not hanging.done()
    await acme.objects.put("note", "a", {"n": 1})
    await second.until("store.get('note', 'a')")
    await hanging
    await first.until("store.stats().role === 'follower' && store.status === 'current'")
    await first.until("store.get('note', 'a')")


async def test_a_tab_whose_token_is_refused_hands_the_connection_over_and_follows(site, acme):
    context = await site.context()
    first, second = await site.tab(context), await site.tab(context)
    await first.open("note", badToken="no token of anybody")
    await first.until("troubles.length > 0")
    assert await first.run("store.stats().role") == "leader"
    await second.open("note")
    await second.until("store.stats().role === 'leader' && store.status === 'current'")
    await first.until("store.stats().role === 'follower' && store.status === 'current'")
    await acme.objects.put("note", "a", {"n": 1})
    for tab in (first, second):
        await tab.until("store.get('note', 'a')?.n === 1")


async def test_a_tab_that_never_gets_a_token_hands_over_after_a_few_seconds(site):
    context = await site.context()
    first, second = await site.tab(context), await site.tab(context)
    # The application hangs: its request for a token is never answered.
    await first.page.route("**/dev/token", lambda _route: None)
    await first.open("note")
    await second.open("note")
    await second.until("store.stats().role === 'leader' && store.status === 'current'", 15)
    await first.until("store.stats().role === 'follower' && store.status === 'current'")


async def test_tabs_that_all_cannot_connect_do_not_flood_the_session_endpoint(site):
    context = await site.context()
    asked = []
    tabs = [await site.tab(context) for _ in range(3)]
    for tab in tabs:
        tab.page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/session") else None)
        await tab.open("note", badToken="no token of anybody")
    await asyncio.sleep(12)
    assert 3 <= len(asked) <= 15, len(asked)


async def test_what_a_following_tab_asks_for_goes_through_the_other_ones_connection(site, bus):
    from headway import Context, Reject, Service

    echo = Service("echo")

    @echo.rpc("say")
    async def say(request: dict, ctx: Context) -> dict:
        if "no" in request:
            raise Reject("no")
        return {"said": request["word"], "to": ctx.tenant}

    async with bus.serving(echo):
        _, second = await pair(site)
        assert await second.run("store.call('echo', 'say', {word: 'hello'})") == {"said": "hello", "to": "acme"}
        refused = await second.run("store.call('echo', 'say', {no: 1}).catch((e) => [e.code, e.retryable])")
        assert refused == ["rejected", False]
    assert site.link.accepted == 1


async def test_a_tab_that_is_offline_by_choice_does_not_keep_the_others_from_the_connection(site, acme):
    first, second = await pair(site)
    await first.run("store.pause()")
    await second.until("store.stats().role === 'leader' && store.status === 'current'")
    await acme.objects.put("note", "a", {"n": 1})
    await second.until("store.get('note', 'a')")
    assert await first.run("[store.status, store.get('note', 'a') ?? null]") == ["stored", None]
    await first.run("store.resume()")
    await first.until("store.status === 'current' && store.get('note', 'a')")
