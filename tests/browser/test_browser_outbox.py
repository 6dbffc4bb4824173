"""Operations that wait: what cannot be done holds nothing up, is told of, and can be retried or dropped."""

from __future__ import annotations

from headway import Context, Service

PENDING = "store.pending.map(({operation, state, error}) => [operation, state, error?.code ?? null])"


async def test_an_operation_that_nobody_serves_holds_nothing_up_and_can_be_listed_and_dropped(site, bus):
    done: list[str] = []
    chores = Service("chores")

    @chores.job("do")
    async def do(request: dict, ctx: Context) -> None:
        done.append(request["id"])

    @chores.rpc("ask")
    async def ask(request: dict, ctx: Context) -> str:
        return "answered"

    async with bus.serving(chores):
        context = await site.context()
        tab = await site.tab(context)
        await tab.open("note")
        await tab.current()
        await tab.run("store.call('nobody', 'serves', {}, {key: 'stuck'}).catch(() => {}), 0")
        await tab.until("troubles.includes('not_served')")
        await tab.run("store.submit('chores', 'do', {id: 'a'})")
        assert await tab.run("store.call('chores', 'ask', {}, {key: 'k'})") == "answered"
        assert await tab.run(PENDING) == [["serves", "waiting", "not_served"]]
        await tab.page.reload()
        await tab.open("note")
        await tab.current()
        await tab.run("store.submit('chores', 'do', {id: 'b'})")
        assert done == ["a", "b"]
        assert await tab.run("store.pending.map(({id}) => id)") == ["stuck"]
        await tab.run("store.cancel('stuck')")
        assert await tab.run("refusals") == [["stuck", "cancelled"]]
        await tab.page.reload()
        await tab.open("note")
        assert await tab.run("store.pending") == []


async def test_what_was_given_up_stays_over_reloads_until_it_is_retried(site, bus):
    late = Service("late")

    @late.rpc("ask")
    async def ask(request: dict, ctx: Context) -> str:
        return "answered"

    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    given_up = "store.call('late', 'ask', {}, {key: 'k', maxAge: 1000}).catch((error) => error.code)"
    assert await tab.run(given_up) == "expired"
    assert await tab.run("refusals") == [["k", "expired"]]
    await tab.page.reload()
    await tab.open("note")
    await tab.current()
    assert await tab.run(PENDING) == [["ask", "parked", "not_served"]]
    async with bus.serving(late):
        assert await tab.run("store.retry('k')") == "answered"
    assert await tab.run("store.pending") == []


async def test_a_following_tab_lists_and_retries_what_the_leader_gave_up(site, bus):
    late = Service("late")

    @late.rpc("ask")
    async def ask(request: dict, ctx: Context) -> str:
        return "answered"

    context = await site.context()
    first, second = await site.tab(context), await site.tab(context)
    for tab in (first, second):
        await tab.open("note")
        await tab.current()
    await second.run("store.call('late', 'ask', {}, {key: 'k', maxAge: 1000}).catch(() => {}), 0")
    await second.until("refusals.length === 1")
    for tab in (first, second):
        await tab.until("store.pending[0]?.state === 'parked'")
    async with bus.serving(late):
        assert await second.run("store.retry('k')") == "answered"
    await first.until("store.pending.length === 0")


async def test_what_json_would_change_is_refused_where_it_is_written(site):
    tab = await site.tab()
    await tab.open("note")
    for value in ("NaN", "Infinity", "12n", "new Map([[1, 2]])", "2 ** 60"):
        refused = f"store.submit('x', 'y', {{amount: {value}}}).catch(({{code, message}}) => [code, message])"
        code, message = await tab.run(refused)
        assert code == "usage"
        assert "amount" in message
    assert await tab.run("store.pending") == []


async def test_an_integer_that_the_page_would_round_is_told_of(site, bus):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    # A service cannot write one; somebody else with its rights could.
    await bus.bus.js.publish("obj.acme.note.a", b'{"n": 9007199254740993}')
    await tab.until("troubles.includes('inexact')")
