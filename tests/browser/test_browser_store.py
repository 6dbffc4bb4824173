"""A page's store, in a real Chromium, against a real server."""

from __future__ import annotations

import asyncio
import os
import signal

TRUTH = "Object.fromEntries(store.list({type: %r}).map((item) => [item.id, item.value.n]))"


async def truth(tenant, type_: str) -> dict[str, int]:
    return {item.id: item.value["n"] for item in await tenant.objects.list(type_, dict)}


async def equal(tab, tenant, type_: str, until) -> None:
    async def same() -> bool:
        return await tab.run(TRUTH % type_) == await truth(tenant, type_)

    await until(same)


async def test_what_is_there_and_what_changes_is_shown(site, acme):
    await acme.objects.put("note", "a", {"n": 1})
    await acme.objects.put("note", "b", {"n": 2})
    await acme.objects.delete("note", "b")
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    assert await tab.run(TRUTH % "note") == {"a": 1}
    revision = await acme.objects.put("note", "b", {"n": 3})
    await tab.until("store.get('note', 'b')?.n === 3")
    assert await tab.run("store.read('note', 'b').seq") == revision
    await acme.objects.delete("note", "a")
    await tab.until("store.get('note', 'a') === undefined")
    assert not tab.errors


async def test_a_view_follows_in_its_order_and_keeps_its_identity_while_nothing_changes(site, acme):
    tab = await site.tab()
    await tab.open("note")
    await tab.run("""() => {
      window.view = store.view({type: 'note', where: {kind: ['x', 'y']}, orderBy: 'n', descending: true, limit: 2});
      window.told = 0;
      view.subscribe(() => told++);
    }""")
    for n, kind in enumerate("xyzx"):
        await acme.objects.put("note", f"note-{n}", {"n": n, "kind": kind})
    await tab.until("view.get().total === 3")
    assert await tab.run("view.get().items.map((item) => item.id)") == ["note-3", "note-1"]
    assert await tab.run("view.get() === view.get()")
    await tab.until("view.get().current")
    told = await tab.run("told")
    await acme.objects.put("note", "other", {"n": 9, "kind": "z"})
    await tab.until("store.get('note', 'other')")
    assert await tab.run("told") == told
    await acme.objects.put("note", "note-0", {"n": 7, "kind": "x"})
    await tab.until("view.get().items[0].id === 'note-0'")


async def test_after_the_server_was_killed_and_restarted_nothing_is_missing(site, acme, bus, until):
    for n in range(20):
        await acme.objects.put("note", f"n{n}", {"n": n})
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    await bus.broker.server.kill()
    await tab.until("store.status === 'stored'")
    assert len(await tab.run(TRUTH % "note")) == 20
    await bus.broker.server.start()

    async def written() -> bool:
        try:
            await acme.objects.put("note", "after", {"n": 99})
        except Exception:
            return False
        return True

    await until(written)
    await acme.objects.delete("note", "n3")
    await tab.until("store.get('note', 'after') && !store.get('note', 'n3')")
    await tab.current()
    await equal(tab, acme, "note", until)


async def test_while_client_sync_is_down_live_changes_go_on_and_afterwards_the_copy_is_right(site, acme, until):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    await site.stop()
    await acme.objects.put("note", "a", {"n": 1})
    await tab.until("store.get('note', 'a')")
    site.link.cut()
    await tab.until("store.status === 'stored'")
    await acme.objects.put("note", "b", {"n": 2})
    site.link.mend()
    await tab.until("store.status === 'syncing'")
    await acme.objects.put("note", "c", {"n": 3})
    await tab.until("store.get('note', 'c')")  # live, although nobody answers the pull
    await site.start()
    await tab.current()
    await equal(tab, acme, "note", until)


_STEPS = """
import asyncio
from headway import Context, Retry, Service

app = Service("app", ack_wait=1.0)

@app.job("count", retry=Retry(attempts=5, backoff=(0.1,)))
async def count(request: dict, ctx: Context) -> None:
    found = await ctx.objects.get("count", "c", dict)
    for n in range(found.value["n"] + 1 if found else 1, 41):
        await ctx.objects.put("count", "c", {"n": n})
        await asyncio.sleep(0.05)
"""


async def test_a_worker_that_is_killed_in_the_middle_goes_on_elsewhere_before_the_pages_eyes(site, bus, spawn):
    worker = await spawn(bus.broker, _STEPS)
    await bus.broker.set_routes({"app": {"v1": 100}})
    tab = await site.tab()
    await tab.open("count")
    await tab.current()
    await tab.run("store.submit('app', 'count', {})")
    await tab.until("store.get('count', 'c')?.n >= 5")
    await worker.kill()
    before = await tab.run("store.get('count', 'c').n")
    await spawn(bus.broker, _STEPS)
    await tab.until("store.get('count', 'c').n === 40")
    revisions = [revision for _, _, revision in await tab.run("seen")]
    assert before < 40
    assert revisions == sorted(revisions)


async def test_a_network_that_is_cut_again_and_again_loses_nothing_and_shows_nothing_older(site, acme, until):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()

    async def writes() -> None:
        for n in range(300):
            await acme.objects.put("note", f"n{n % 17}", {"n": n})
            if n % 40 == 39:
                await acme.objects.delete("note", f"n{n % 11}")
            await asyncio.sleep(0.004)

    async def cuts() -> None:
        for _ in range(4):
            await asyncio.sleep(0.25)
            site.link.cut()
            await asyncio.sleep(0.05)
            site.link.mend()

    await asyncio.gather(writes(), cuts())
    await tab.current()
    await equal(tab, acme, "note", until)
    shown: dict[str, int] = {}
    for _, id_, revision in await tab.run("seen"):
        if revision is not None:
            assert revision >= shown.get(id_, 0), f"{id_} went back"
            shown[id_] = revision


async def test_a_connection_that_is_dead_without_a_sign_is_given_up(site, acme, bus):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    os.kill(bus.broker.server.pid, signal.SIGSTOP)  # connections stay, and nobody answers
    try:
        await tab.run("window.dispatchEvent(new Event('online'))")
        await tab.until("statuses.at(-1) === 'stored'")
    finally:
        os.kill(bus.broker.server.pid, signal.SIGCONT)
    await acme.objects.put("note", "a", {"n": 1})
    await tab.current()
    assert await tab.run("store.get('note', 'a').n") == 1


_LOSSY = """
const Real = WebSocket;
window.lost = 0;
window.WebSocket = class extends Real {
  set onmessage(handler) {
    super.onmessage = handler && ((event) => {
      const text = new TextDecoder('latin1').decode(event.data);
      if (text.startsWith('HMSG live.') && text.split('HMSG').length === 2 && Math.random() < 0.3) lost++;
      else handler(event);
    });
  }
};
"""


async def test_changes_that_get_lost_on_the_way_are_found_missing_and_fetched(site, acme, until):
    tab = await site.tab(init=_LOSSY)
    await tab.open("note")
    await tab.current()
    for n in range(60):
        await acme.objects.put("note", f"n{n % 25}", {"n": n})
        await asyncio.sleep(0.01)
    assert await tab.run("lost") > 0
    await equal(tab, acme, "note", until)
    assert await tab.run("store.stats().gaps") > 0


async def test_a_token_is_renewed_before_it_expires_and_nothing_is_missed_meanwhile(site, acme, until):
    await site.stop()
    await site.start(lifetime=5.0)
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    n = 0
    while await tab.run("store.stats().connects") < 2:
        n += 1
        await acme.objects.put("note", f"n{n % 10}", {"n": n})
        await asyncio.sleep(0.02)
    await equal(tab, acme, "note", until)
    assert "stored" not in (await tab.run("statuses"))[1:], "it was disconnected in between"


async def test_a_signed_out_user_is_disconnected_and_comes_back_with_a_new_session(site, acme):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    await tab.run("""async () => {
      const body = JSON.stringify({tenant: 'acme', user: 'ada'});
      const headers = {'Content-Type': 'application/json'};
      const {token} = await (await fetch('/dev/token', {method: 'POST', headers, body})).json();
      await fetch('/session', {method: 'DELETE', headers: {Authorization: `Bearer ${token}`}});
    }""")
    await tab.until("statuses.includes('stored')")
    await tab.current()
    await acme.objects.put("note", "a", {"n": 1})
    await tab.until("store.get('note', 'a')")


async def test_closing_leaves_nothing_behind(site, bus):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    await tab.run("store.close()")
    assert await tab.run("store.status") == "closed"
    assert await tab.run("store.submit('x', 'y').catch((error) => error.code)") == "closed"
    assert not await tab.run("navigator.locks.query().then(({held, pending}) => held.length + pending.length)")
    before = site.link.accepted
    site.link.drop()
    await asyncio.sleep(0.5)
    assert site.link.accepted == before


async def test_only_the_fields_that_are_asked_for_travel_and_are_kept(site, acme):
    await acme.objects.put("note", "a", {"n": 1, "secret": "x"})
    tab = await site.tab()
    await tab.open("note", fields={"note": ["n"]})
    await tab.current()
    assert await tab.run("store.get('note', 'a')") == {"n": 1}
    await acme.objects.put("note", "a", {"n": 2, "secret": "y"})
    await tab.until("store.get('note', 'a').n === 2")
    assert await tab.run("store.get('note', 'a')") == {"n": 2}


async def test_a_page_fetches_and_keeps_what_its_condition_asks_for_while_objects_come_to_match_and_cease_to(
    site, acme
):
    for n in range(200):
        await acme.objects.put("note", f"n{n}", {"n": n, "state": "new" if n % 20 == 0 else "done", "text": "x" * 500})
    context = await site.context()
    everything, some = await site.tab(context), await site.tab(context)
    await everything.open("note")
    await everything.current()
    new = {"note": {"state": ["new", None]}}
    await some.open("note", where=new)
    await some.current()
    assert await some.run(TRUTH % "note") == {f"n{n}": n for n in range(0, 200, 20)}
    assert await some.run("store.stats().bytes") < await everything.run("store.stats().bytes") / 5

    await acme.objects.put("note", "n0", {"n": 0, "state": "done"})
    await acme.objects.put("note", "n1", {"n": 1, "state": "new"})
    await acme.objects.put("note", "n2", {"n": 2})
    await some.until("!store.get('note', 'n0') && store.get('note', 'n1') && store.get('note', 'n2')")
    site.link.cut()
    await some.until("store.status === 'stored'")
    await acme.objects.put("note", "n1", {"n": 1, "state": "done"})
    await acme.objects.put("note", "n3", {"n": 3, "state": "new"})
    await some.run("store.close()")
    await some.page.reload()
    await some.open("note", where=new)
    shown = {f"n{n}": n for n in (1, 2, *range(20, 200, 20))}
    assert await some.run(TRUTH % "note") == shown, "stored, under a name of its own"
    site.link.mend()
    await some.current()
    del shown["n1"]
    assert await some.run(TRUTH % "note") == {**shown, "n3": 3}
    await some.run("document.dispatchEvent(new Event('visibilitychange'))")  # asks again, with a checksum
    await some.until("store.status === 'current' && store.stats().pulls >= 2")
    assert await some.run("[store.stats().gaps, store.stats().resets]") == [0, 0]
    assert await everything.run("store.list({type: 'note'}).length") == 200
