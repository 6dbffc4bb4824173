"""Changes since, on a real server: pages, shapes, resets, and what is refused."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from nats.js.errors import APIError

from headway import Service
from headway.bus.tasks import end
from headway.clientsync.checksum import digest
from headway.clientsync.protocol import MAX_REQUEST
from headway.clientsync.server import Options, serving
from tests.support.clientsync_page import Refused


async def filled(bus, count: int, tenant: str = "acme") -> None:
    objects = bus.tenant(tenant).objects
    await asyncio.gather(
        *(
            objects.put("fax" if n % 2 else "call", f"o{n}", {"n": n, "state": "sent" if n % 3 else "new", "to": "+1"})
            for n in range(count)
        )
    )


async def test_pages_come_in_the_order_of_changes_and_each_object_once(bus, site, open_page):
    await filled(bus, 1200)
    await filled(bus, 20, "zeta")
    page = await open_page(site, follow=False)
    replies = await page.all(types=["fax", "call"], limit=100)
    changes = [change for reply in replies for change in reply["changes"]]
    assert [change["seq"] for change in changes] == sorted(change["seq"] for change in changes)
    assert sorted(change["id"] for change in changes) == sorted(f"o{n}" for n in range(1200))
    assert all(len(reply["changes"]) <= 100 for reply in replies)
    one = changes[7]["value"]
    assert (one["to"], one["state"]) == ("+1", "sent" if one["n"] % 3 else "new")
    assert [reply["more"] for reply in replies] == [True] * (len(replies) - 1) + [False]


async def test_what_changed_since_is_all_that_is_sent(bus, site, open_page):
    await filled(bus, 300)
    page = await open_page(site, follow=False)
    last = (await page.all(limit=1000))[-1]
    objects = bus.tenant("acme").objects
    await objects.put("fax", "o1", {"n": 1, "state": "failed"})
    await objects.delete("call", "o2")
    await bus.tenant("zeta").objects.put("fax", "o1", {})
    reply = await page.ask(since=last["next"], epoch=last["epoch"])
    assert [{**change, "seq": 0} for change in reply["changes"]] == [
        {"type": "fax", "id": "o1", "seq": 0, "value": {"n": 1, "state": "failed"}},
        {"type": "call", "id": "o2", "seq": 0, "deleted": True},
    ]
    assert (reply["more"], reply["reset"], reply["base"]) == (False, False, None)


async def test_objects_are_sent_in_the_shape_and_choice_asked_for(bus, site, open_page):
    objects = bus.tenant("acme").objects
    for id_, state in (("a", "sent"), ("b", "new"), ("c", "failed")):
        await objects.put("fax", id_, {"state": state, "to": "+1", "secret": "s"})
    await objects.put("call", "d", {"state": "new", "from": "+2"})
    page = await open_page(site, follow=False)
    asked = {"types": ["fax", "call"], "fields": {"fax": ["state"]}, "where": {"fax": {"state": ["sent", "new"]}}}
    reply = await page.ask(**asked)
    values = {change["id"]: change.get("value") for change in reply["changes"] if "value" in change}
    assert values == {"a": {"state": "sent"}, "b": {"state": "new"}, "d": {"state": "new", "from": "+2"}}
    await objects.put("fax", "a", {"state": "failed"})
    later = await page.ask(**asked, since=reply["next"], epoch=reply["epoch"])
    assert [(change["id"], change.get("gone")) for change in later["changes"]] == [("a", True)]


async def test_any_instance_answers_any_page(bus, site, start_site, open_page, until):
    await filled(bus, 400)
    page = await open_page(site, follow=False)
    await start_site(bus.broker)
    replies = await page.all(limit=10)
    assert len({change["id"] for reply in replies for change in reply["changes"]}) == 400
    info = await bus.bus.nc.request("$JS.API.STREAM.INFO.OBJECTS", b"")
    assert orjson.loads(info.data)["state"]["consumer_count"] == 0  # nothing is held for anybody


async def test_replies_stay_below_what_a_message_may_hold(bus, site, open_page):
    objects = bus.tenant("acme").objects
    for n in range(8):
        await objects.put("fax", f"big{n}", {"text": "x" * 200_000})
    page = await open_page(site, follow=False)
    replies = await page.all(types=["fax"])
    assert len(replies) >= 4
    assert [c["id"] for reply in replies for c in reply["changes"]] == [f"big{n}" for n in range(8)]


async def test_another_epoch_or_a_position_that_is_not_there_resets(bus, site, open_page):
    await filled(bus, 10)
    page = await open_page(site, follow=False)
    last = await page.ask()
    assert (await page.ask(since=5, epoch="of another stream"))["reset"]
    assert (await page.ask(since=5))["reset"]
    assert (await page.ask(since=10_000, epoch=last["epoch"]))["reset"]
    assert not (await page.ask(since=5, epoch=last["epoch"]))["reset"]
    first = await page.ask(limit=3)
    await bus.bus.js.delete_stream("OBJECTS")
    from headway.bus.nats import streams

    await streams.provision(bus.bus.js)
    await filled(bus, 20)
    await asyncio.sleep(1.1)  # FACTS_AGE
    reply = await page.ask(since=first["next"], epoch=first["epoch"], base=first["base"])
    assert reply["reset"]
    assert len((await page.ask())["changes"]) == 20


async def test_whoever_was_away_for_longer_than_tombstones_stay_starts_anew(bus, start_site, open_page, until):
    site = await start_site(bus.broker, tombstones=2.0)
    objects = bus.tenant("acme").objects
    await objects.put("fax", "stays", {})
    await objects.put("fax", "goes", {})
    page = await open_page(site, follow=False)
    last = await page.ask()
    await objects.delete("fax", "goes", keep=2)
    here = await page.ask(since=last["next"], epoch=last["epoch"])
    assert [change["id"] for change in here["changes"]] == ["goes"]

    async def tombstone_ended() -> bool:
        return (await bus.bus.js.stream_info("OBJECTS")).state.messages == 1

    await until(tombstone_ended)

    async def is_reset() -> bool:
        return (await page.ask(since=last["next"], epoch=last["epoch"]))["reset"]

    await until(is_reset)
    replies = await page.all(limit=1)
    assert [change["id"] for reply in replies for change in reply["changes"]] == ["stays"]
    # Who was there in time goes on: its position moved with the stream.
    again = await page.ask(since=replies[-1]["next"], epoch=last["epoch"])
    assert not again["reset"]


async def test_an_old_object_does_not_make_its_own_snapshot_void(bus, start_site, open_page, until):
    """The first page ends at a sequence from before the horizon; the second must not be taken for a stale resume."""
    site = await start_site(bus.broker, tombstones=1.0)
    await filled(bus, 6)
    page = await open_page(site, follow=False)

    async def old() -> bool:
        await bus.tenant("zeta").objects.put("fax", "new", {})
        return (await page.ask(limit=1))["horizon"] > 6

    await until(old)
    last = (await bus.bus.js.stream_info("OBJECTS")).state.last_seq

    async def seen() -> bool:
        return (await site.http.get("/health")).json()["position"] == last

    await until(seen)
    assert len([c for reply in await page.all(limit=2) for c in reply["changes"]]) == 6


async def test_the_checksum_is_that_of_what_is_there(bus, site, open_page, until):
    await filled(bus, 50)
    await bus.tenant("acme").objects.delete("fax", "o1")
    page = await open_page(site, follow=False)
    where = {"fax": {"state": "sent"}}

    async def checked(**asked) -> dict:
        replies = await page.all(limit=7, checksum=True, **asked)
        assert all(reply["checksum"] is None for reply in replies[:-1])
        rows: dict[tuple[str, str], int] = {}
        for reply in replies:
            for change in reply["changes"]:
                rows.pop((change["type"], change["id"]), None)
                if "value" in change:
                    rows[change["type"], change["id"]] = change["seq"]
        total = sum(digest(*key, seq) for key, seq in rows.items()) % (1 << 64)
        assert replies[-1]["checksum"] == {"count": len(rows), "sum": f"{total:016x}"}
        return replies[-1]["checksum"]

    assert (await checked(types=["fax", "call"]))["count"] == 49
    assert (await checked())["count"] == 49
    narrow = await checked(types=["fax"], where=where)
    await bus.tenant("acme").objects.put("fax", "o5", {"state": "new"})
    assert (await checked(types=["fax"], where=where))["count"] == narrow["count"] - 1


async def test_what_is_written_past_our_code_does_no_harm(bus, site, open_page):
    await bus.bus.js.publish("obj.acme.fax.bad", b"{not json")
    await bus.bus.js.publish("obj.acme.FAX.bad", b"{}")
    await bus.bus.js.publish("obj.acme.fax.marker", b"", headers={"KV-Operation": "DEL"})
    await bus.tenant("acme").objects.put("fax", "good", {"n": 1})
    page = await open_page(site, follow=False)
    first = (await page.ask(limit=1, types=["fax"]))["epoch"]
    reply = await page.ask(since=1, epoch=first, types=None)
    assert [(c["id"], c.get("value")) for c in reply["changes"] if "value" in c] == [("good", {"n": 1})]
    counted = (await page.ask(types=["fax"], checksum=True))["checksum"]["count"]
    assert counted == 1, "what no page can have is not counted"


@pytest.mark.parametrize(
    "payload",
    [
        b"[1]",
        b"{",
        b'{"since": -1}',
        b'{"since": "1"}',
        b'{"limit": 100000}',
        b'{"wehre": {}}',
        b"[" * 10_000,
        b'{"types": []}',
        b'{"types": ["*"]}',
        b'{"types": [">"]}',
        b'{"types": ["a.b"]}',
        orjson.dumps({"types": [f"t{n}" for n in range(17)]}),
        b'{"where": {"fax": {"a": 1}}}',
        orjson.dumps({"types": ["fax"], "where": {"fax": {str(n): 1 for n in range(9)}}}),
        b'{"types": ["fax"], "where": {"fax": {"a": {"$gt": 1}}}}',
        b'{"since": 1e400}',
        b"\xff\xfe",
    ],
)
async def test_a_poisoned_request_is_refused_by_name(bus, site, open_page, payload):
    page = await open_page(site, follow=False)
    with pytest.raises(Refused) as caught:
        await page.request("sync.acme.pull", payload)
    assert caught.value.status == 400
    assert (await page.ask())["changes"] == []


async def test_a_huge_request_is_refused_before_it_is_read(site, open_page):
    page = await open_page(site, follow=False)
    with pytest.raises(Refused) as caught:
        await page.request("sync.acme.pull", b" " * (MAX_REQUEST + 1))
    assert caught.value.status == 413


async def test_an_answer_goes_to_an_inbox_or_nowhere(bus, site, open_page, until):
    """Who asks names the subject of the answer, and client sync may publish where a page may not."""
    await filled(bus, 3)
    page = await open_page(site, follow=False)
    seen: list[str] = []

    async def on_message(message) -> None:
        seen.append(message.subject)

    await bus.bus.nc.subscribe("live.>", cb=on_message)
    await bus.bus.nc.subscribe("job.>", cb=on_message)
    await bus.bus.nc.flush()
    for reply in ("live.zeta.head", "job.fax.zeta.send", "job.fax.v1.0.zeta.send"):
        await page.nc.publish("sync.acme.pull", b"{}", reply=reply)
        await page.nc.publish("sync.acme.submit.fax.send", b"{}", reply=reply, headers={"Nats-Msg-Id": "k"})
    await page.ask()  # what came before it has been dealt with
    assert [subject for subject in seen if subject != "live.acme.head"] == []


async def test_a_worker_answers_to_an_inbox_or_not_at_all(bus, site, open_page):
    """A page that could name another reply subject would have a worker write into another tenant's objects."""
    fax = Service("fax")

    @fax.rpc("echo")
    async def echo(request: dict[str, int]) -> dict[str, int]:
        return request

    async with bus.serving(fax):
        page = await open_page(site, follow=False)
        for reply in ("obj.zeta.fax.stolen", "rpc.fax.zeta.echo", "$JS.API.STREAM.PURGE.JOBS_fax"):
            await page.nc.publish("rpc.fax.acme.echo", b'{"a": 1}', reply=reply)
        assert await page.request("rpc.fax.acme.echo", b'{"a": 2}') == {"a": 2}
    assert await bus.tenant("zeta").objects.get("fax", "stolen", dict) is None


async def test_a_pages_job_is_stored_once_under_its_own_tenant(bus, site, open_page, until):
    done: list[tuple[str, dict]] = []
    fax = Service("fax")

    @fax.job("send")
    async def send(request: dict[str, int], ctx) -> None:
        done.append((ctx.tenant, request))

    async with bus.serving(fax):
        page = await open_page(site, follow=False)
        first = await page.request("sync.acme.submit.fax.send", b'{"n": 1}', {"Nats-Msg-Id": "order-1"})
        again = await page.request("sync.acme.submit.fax.send", b'{"n": 1}', {"Nats-Msg-Id": "order-1"})
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        # It cannot take another tenant's key: keys are its tenant's.
        await page.request("sync.acme.submit.fax.send", b'{"n": 2}', {"Nats-Msg-Id": "order-2"})
        await bus.submit("fax", "send", {"n": 3}, tenant="zeta", key="order-2")
        await until(lambda: len(done) == 3)
    assert sorted(done, key=str) == [("acme", {"n": 1}), ("acme", {"n": 2}), ("zeta", {"n": 3})]


async def test_a_change_that_is_based_on_an_old_revision_is_refused_and_its_base_reaches_the_handler(
    site, bus, open_page, until
):
    fax, bases = Service("fax"), []

    @fax.job("send")
    async def send(request: dict[str, int], ctx) -> None:
        bases.append(ctx.base_revision("note", "a"))

    objects = bus.tenant("acme").objects
    first = await objects.put("note", "a", {"n": 1})
    page = await open_page(site, follow=False)

    def submitted(key: str, base: str):
        fields = {"Nats-Msg-Id": key, "Headway-Base-Revisions": base}
        return page.request("sync.acme.submit.fax.send", b"{}", fields)

    async with bus.serving(fax):
        await submitted("a", f"note.a={first}")
        second = await objects.put("note", "a", {"n": 2})
        with pytest.raises(Refused, match=f"at revision {second}") as refused:
            await submitted("b", f"note.a={first}")
        assert refused.value.status == 409
        await submitted("c", f"note.a={second},note.never=0")
        await objects.delete("note", "a")
        with pytest.raises(Refused):
            await submitted("d", f"note.a={second}")
        with pytest.raises(Refused) as refused:
            await submitted("e", "nonsense")
        assert refused.value.status == 400
        await until(lambda: bases == [first, second])


async def test_a_conflict_is_told_to_all_pages_of_the_tenant_and_to_no_other(site, open_page, until):
    page, other = await open_page(site), await open_page(site, "zeta", "bob")
    heard = {"acme": [], "zeta": []}
    for tenant, one in (("acme", page), ("zeta", other)):

        async def on_conflict(message, tenant=tenant):
            heard[tenant].append(orjson.loads(message.data))

        await one.nc.subscribe(f"live.{tenant}.conflict", cb=on_conflict)
        await one.nc.flush()
    told = {"type": "note", "id": "a", "base": 1, "theirs": 2, "kept": "merged", "fields": ["title"]}
    assert await page.ask(conflict=told) == {}
    await until(lambda: heard["acme"] == [told])
    assert heard["zeta"] == []
    with pytest.raises(Refused):
        await page.ask(conflict={**told, "fields": ["x" * 200]})


@pytest.mark.parametrize(
    ("subject", "payload", "key", "status"),
    [
        ("sync.acme.submit.fax.send", b"{}", None, 400),
        ("sync.acme.submit.fax.send", b"{}", "x" * 256, 400),
        ("sync.acme.submit.fax.send", b"{", "k", 400),
        ("sync.acme.submit.FAX.send", b"{}", "k", 400),
        ("sync.acme.submit.nobody.send", b"{}", "k", 404),
        ("sync.acme.submit.fax.send", b"1" * 70_000, "k", 413),
    ],
)
async def test_a_job_that_cannot_be_stored_is_refused(site, open_page, subject, payload, key, status):
    page = await open_page(site, follow=False)
    if len(payload) > 65_000:
        payload = b'"' + b"x" * 65_400 + b'"'
    with pytest.raises(Refused) as caught:
        await page.request(subject, payload[:65_536], {"Nats-Msg-Id": key} if key else {"X": "y"})
    assert caught.value.status in (status, 404 if status == 413 else status)


async def test_one_tenants_flood_is_refused_and_another_tenant_is_served(bus, start_site, open_page):
    from headway.clientsync.metrics import SyncMetrics
    from headway.clientsync.objects import Store
    from headway.clientsync.presence import Presence
    from headway.clientsync.proofs import Proofs
    from headway.clientsync.pull import Puller
    from headway.clientsync.responder import Responder
    from headway.clientsync.tail import Tail

    site = await start_site(bus.broker)  # for sessions; its own responder is not in the way: see below
    flood, other = await open_page(site, follow=False), await open_page(site, "zeta", "bob", follow=False)
    async with await bus.broker.connect("web") as connection:
        store, metrics = Store(connection.js), SyncMetrics()
        puller, presence = Puller(store, Tail(store)), Presence(bus.broker, connection, metrics)
        responder = Responder(
            connection, puller, presence, metrics, Proofs(bus.broker.identities), rate=0.001, burst=20
        )
        ready = asyncio.Event()
        running = asyncio.ensure_future(responder.run(ready))
        await ready.wait()
        results = await asyncio.gather(*(flood.ask() for _ in range(200)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, Refused)]
        assert refused  # those that this instance got beyond its bound; the other instance's bound is larger
        assert {error.status for error in refused} == {429}
        for _ in range(10):
            assert not (await other.ask())["reset"]
        await end([running])


async def test_an_instance_that_ends_answers_what_it_has_in_hand(bus, site, open_page, until):
    await filled(bus, 200)
    page, answers, stop = await open_page(site, follow=False), [], asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            answers.append(await page.ask(types=["fax", "call"]))

    options = Options(ws_url=bus.broker.ws_url, port=0, development=True)
    asking = [asyncio.ensure_future(ask()) for _ in range(8)]
    for _ in range(3):
        async with serving(bus.broker, options):
            before = len(answers)
            await until(lambda before=before: len(answers) > before + 20)
    stop.set()
    await asyncio.gather(*asking)  # each was answered, or this raises


async def test_nobody_can_purge_objects_without_a_trace(bus):
    """An API purge is not republished: browsers would keep for ever what it took."""
    await bus.tenant("acme").objects.put("fax", "a", {})
    with pytest.raises(APIError, match="purge"):
        await bus.bus.js.purge_stream("OBJECTS")
    with pytest.raises(APIError, match="delete"):
        await bus.bus.js.delete_msg("OBJECTS", 1)
    assert await bus.tenant("acme").objects.get("fax", "a", dict) is not None
