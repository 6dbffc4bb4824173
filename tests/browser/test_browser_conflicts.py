"""Two people who change one object: neither change is lost without both being told."""

from __future__ import annotations

import asyncio

import pytest

from headway import Context, Service


class Notes:
    """A service that stores what pages send, as it is, unless somebody else was first."""

    def service(self) -> Service:
        app = Service("notes")

        @app.job("save")
        async def save(request: dict, ctx: Context) -> None:
            await ctx.objects.put("note", "a", request)

        @app.rpc("save-now", timeout=30)
        async def save_now(request: dict, ctx: Context) -> None:
            await asyncio.sleep(0.3)  # so that two of them overlap
            await ctx.objects.put("note", "a", request, expect=ctx.base_revision("note", "a"))

        return app


WRITE = """([changes, options]) => {
  const value = {...store.get('note', 'a'), ...changes};
  window.asked = store.submit('notes', 'save', value, {optimistic: {type: 'note', id: 'a', value}, ...options})
    .then(() => 'done', (error) => error.code);
}"""


@pytest.fixture
async def writers(site, bus, acme):
    """Two users who look at the same note; ada was offline while bob was, too."""
    await acme.objects.put("note", "a", {"title": "old", "color": "red"})
    async with bus.serving(Notes().service()):
        ada, bob = await site.tab(await site.context()), await site.tab(await site.context())
        await ada.open("note", user="ada")
        await bob.open("note", user="bob")
        for tab in (ada, bob):
            await tab.current()
        yield ada, bob


async def both_offline(ada, bob, mine, theirs, **options) -> None:
    """Both change the note offline; ada comes back first."""
    for tab in (ada, bob):
        await tab.run("store.pause()")
    await ada.run(WRITE, [mine, {}])
    await bob.run(WRITE, [theirs, options])
    await ada.run("store.resume()")
    assert await ada.run("asked") == "done"
    await ada.until("store.pending.length === 0 && !store.read('note', 'a').pending")
    await bob.run("store.resume()")


async def settled(ada, bob, value) -> None:
    for tab in (ada, bob):
        await tab.until("!store.read('note', 'a').pending && store.status === 'current'")
        await tab.until(f"JSON.stringify(store.get('note', 'a')) === {value!r}")


async def test_changes_of_different_fields_are_both_kept(writers):
    ada, bob = writers
    await both_offline(ada, bob, {"title": "ada"}, {"color": "blue"})
    assert await bob.run("asked") == "done"
    await settled(ada, bob, '{"title":"ada","color":"blue"}')
    assert [await tab.run("conflicts") for tab in writers] == [[], []]


async def test_of_changes_of_the_same_field_the_second_stands_and_both_are_told(writers):
    ada, bob = writers
    await both_offline(ada, bob, {"title": "ada", "color": "green"}, {"title": "bob"})
    assert await bob.run("asked") == "done"
    await settled(ada, bob, '{"title":"bob","color":"green"}')
    await ada.until("conflicts.length === 1")
    (told,) = await bob.run("conflicts")
    assert (told["here"], told["kept"], told["fields"]) == ("second", "merged", ["title"])
    assert await ada.run("conflicts") == [{**told, "here": "first"}]


async def test_the_page_may_keep_theirs(writers):
    ada, bob = writers
    await both_offline(ada, bob, {"title": "ada"}, {"title": "bob"}, onConflict="theirs")
    assert await bob.run("asked") == "conflict"
    await settled(ada, bob, '{"title":"ada","color":"red"}')
    assert (await bob.run("conflicts"))[0]["kept"] == "first"
    assert (await bob.run("refusals"))[0][1] == "conflict"
    await ada.until("conflicts.length === 1")


async def test_two_calls_at_the_same_moment_are_told_apart_by_the_handler(writers):
    ada, bob = writers
    call = """([changes]) => {
      const value = {...store.get('note', 'a'), ...changes};
      const options = {key: changes.title ? 't' : 'c', optimistic: {type: 'note', id: 'a', value}};
      window.asked = store.call('notes', 'save-now', value, options)
        .then(() => 'done', (error) => error.code);
    }"""
    await asyncio.gather(ada.run(call, [{"title": "ada"}]), bob.run(call, [{"color": "blue"}]))
    assert [await tab.run("asked") for tab in writers] == ["done", "done"]
    await settled(ada, bob, '{"title":"ada","color":"blue"}')
