"""What is on a browser's disk: shown at once, never more than the truth once connected, and not needed to work."""

from __future__ import annotations

import asyncio

from headway import Context, Reject, Service

MANY = 10_000


async def fill(tenant, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        turn = asyncio.Semaphore(256)

        async def put(n: int) -> None:
            async with turn:
                await tenant.objects.put("note", f"n{n}", {"n": n, "text": f"This is the note with the number {n}."})

        for n in range(count):
            group.create_task(put(n))


async def test_ten_thousand_objects_are_shown_offline_and_catching_up_takes_what_changed(site, acme):
    await fill(acme, MANY)
    context = await site.context()
    tab = await site.tab(context)
    await tab.open("note")
    await tab.current()
    assert await tab.run("store.stats().objects") == MANY
    whole = await tab.run("store.stats().bytes")
    await tab.run("store.close()")
    site.link.cut()
    await tab.page.reload()
    await tab.open("note")
    assert await tab.run("store.list({type: 'note'}).length") == MANY, "the first list must have what is stored"
    assert await tab.run("store.status") == "stored"
    for n in range(50):
        await acme.objects.put("note", f"n{n * 7}", {"n": -n})
    await acme.objects.delete("note", "n1")
    site.link.mend()
    await tab.current()
    assert await tab.run("[store.get('note', 'n7').n, store.get('note', 'n1') ?? null]") == [-1, None]
    assert await tab.run("store.stats().objects") == MANY - 1
    assert await tab.run("store.stats().bytes") < whole / 50


async def test_work_that_is_submitted_offline_survives_a_reload_and_is_done_once(site, bus):
    done: list[str] = []
    chores = Service("chores")

    @chores.job("do")
    async def do(request: dict, ctx: Context) -> None:
        done.append(request["id"])
        await ctx.objects.put("chore", request["id"], {"n": 2})

    context = await site.context()
    tab = await site.tab(context)
    await tab.open("chore")
    await tab.current()
    site.link.cut()
    await tab.until("store.status === 'stored'")
    await tab.run("""() => {
      const optimistic = {type: 'chore', id: 'c1', value: {n: 1}};
      store.submit('chores', 'do', {id: 'c1'}, {optimistic}).catch(() => {});
    }""")
    await tab.until("store.pending.length === 1")
    shown = await tab.run("store.read('chore', 'c1')")
    assert shown == {"type": "chore", "id": "c1", "value": {"n": 1}, "seq": 0, "pending": True}
    await tab.page.reload()
    await tab.open("chore")
    assert await tab.run("[store.pending.length, store.get('chore', 'c1').n]") == [1, 1]
    async with bus.serving(chores):
        site.link.mend()
        await tab.until("store.get('chore', 'c1')?.n === 2")
        await tab.until("store.pending.length === 0 && !store.read('chore', 'c1').pending")
        again = "Promise.all([1, 2].map(() => store.submit('chores', 'do', {id: 'c2'}, {key: 'twice'})))"
        assert len(await tab.run(again)) == 2
        await tab.until("store.get('chore', 'c2')")
        assert done == ["c1", "c2"]
    await tab.page.reload()
    await tab.open("chore")
    assert await tab.run("store.pending.length") == 0


async def test_a_change_that_is_refused_is_taken_back(site, bus, acme):
    service, looked_at = Service("desk"), asyncio.Event()

    @service.rpc("rename", timeout=60)
    async def rename(request: dict, ctx: Context) -> None:
        await looked_at.wait()
        raise Reject("names are for good")

    await acme.objects.put("note", "a", {"n": 1})
    async with bus.serving(service):
        tab = await site.tab()
        await tab.open("note")
        await tab.current()
        await tab.run("""() => {
          const options = {key: 'k1', optimistic: {type: 'note', id: 'a', value: {n: 2}}, timeout: 60_000};
          window.asked = store.call('desk', 'rename', {}, options).catch((error) => error.code);
        }""")
        await tab.until("store.get('note', 'a').n === 2")
        looked_at.set()
        assert await tab.run("asked") == "rejected"
        assert await tab.run("store.get('note', 'a').n") == 1
        assert await tab.run("refusals") == [["k1", "rejected"]]
        assert await tab.run("store.pending.length") == 0


async def test_without_a_key_a_call_does_not_wait_for_a_connection(site):
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    site.link.cut()
    await tab.until("store.status === 'stored'")
    assert await tab.run("store.call('desk', 'rename', {}).catch((error) => error.code)") == "offline"


async def test_without_indexeddb_objects_are_kept_in_memory_and_the_application_can_tell(site, acme):
    await acme.objects.put("note", "a", {"n": 1})
    tab = await site.tab(init="Object.defineProperty(window, 'indexedDB', {get() { throw new Error('denied'); }});")
    await tab.open("note")
    await tab.current()
    assert await tab.run("[store.stats().disk, store.get('note', 'a').n]") == ["off", 1]


async def test_with_the_disk_full_objects_are_kept_in_memory_and_the_application_is_told(site, acme):
    context = await site.context()
    tab = await site.tab(context)
    devtools = await context.new_cdp_session(tab.page)
    await tab.open("note")
    await tab.current()
    await devtools.send("Storage.overrideQuotaForOrigin", {"origin": site.url, "quotaSize": 1000})
    for n in range(8):
        await acme.objects.put("note", f"n{n}", {"n": n, "text": "x" * 20_000})
    await tab.until("store.get('note', 'n7')")
    await tab.until("store.stats().disk === 'full'")
    assert await tab.run("store.list({type: 'note'}).length") == 8


async def test_a_newer_version_in_another_tab_may_upgrade_the_database(site, acme):
    context = await site.context()
    tab = await site.tab(context)
    await tab.open("note")
    await tab.current()
    newer = await site.tab(context)
    upgraded = await newer.run("""() => new Promise((resolve, reject) => {
      const asked = indexedDB.open('headway/acme/ada/note', 99);
      asked.onsuccess = () => resolve(asked.result.version);
      asked.onerror = () => reject(asked.error);
      asked.onblocked = () => reject(new Error('blocked'));
    })""")
    assert upgraded == 99
    await tab.until("store.stats().disk === 'lost'")
    await acme.objects.put("note", "a", {"n": 1})
    await tab.until("store.get('note', 'a')")


async def test_what_is_stored_is_shown_to_nobody_else(site, acme, bus):
    await acme.objects.put("note", "a", {"n": 1})
    context = await site.context()
    tab = await site.tab(context)
    await tab.open("note", cache="shared")
    await tab.current()
    await tab.run("store.close()")
    await tab.page.reload()
    await bus.tenant("globex").objects.put("note", "g", {"n": 2})
    await tab.open("note", tenant="globex", user="grace", cache="shared")
    await tab.until("store.status === 'current' && store.get('note', 'g')")
    assert await tab.run("store.list({type: 'note'}).map((item) => item.id)") == ["g"]
    await tab.run("store.close()")
    await tab.page.reload()
    site.link.cut()
    await tab.open("note", tenant="globex", user="grace", cache="shared")
    assert await tab.run("store.list({type: 'note'}).map((item) => item.id)") == ["g"]


async def test_forgetting_deletes_what_is_stored(site, acme):
    await acme.objects.put("note", "a", {"n": 1})
    tab = await site.tab()
    await tab.open("note")
    await tab.current()
    await tab.run("store.close()")
    await tab.run("import('/index.js').then(({forget}) => forget({types: ['note'], cache: 'acme/ada'}))")
    assert await tab.run("indexedDB.databases()") == []
