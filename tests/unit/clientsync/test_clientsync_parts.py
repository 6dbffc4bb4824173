"""The parts of client sync that need no server: requests, shapes, checksums, presence, beacons, the store's rules."""

from __future__ import annotations

import base64
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import TooLarge
from headway.clientsync import protocol
from headway.clientsync.beacons import beacon
from headway.clientsync.checksum import Checksum, digest
from headway.clientsync.errors import BadRequest
from headway.clientsync.objects import _seconds
from headway.clientsync.order import order_key
from headway.clientsync.presence import Online, Person, person
from headway.clientsync.protocol import base_revisions, matches, parse, shaped
from headway.clientsync.pull import Puller
from headway.clientsync.replica import GRACE, SILENCE, Replica, Row, checksum
from headway.clientsync.server import PAGES
from headway.clientsync.tail import KEPT, Recent, Tail
from tests.support.clientsync_model import ModelStore


def test_a_request_says_nothing_and_means_everything():
    assert parse(b"") == parse(b"{}") == protocol.Pull()
    assert parse(b"{}").snapshot
    assert not parse(b'{"since": 3}').snapshot
    assert parse(b'{"since": 3, "base": 0}').snapshot


def test_a_large_request_is_not_even_read():
    with pytest.raises(TooLarge):
        parse(b"{" * (protocol.MAX_REQUEST + 1))
    with pytest.raises(BadRequest):
        parse(b"{" * protocol.MAX_REQUEST)


@given(st.binary(max_size=200))
def test_whatever_arrives_is_a_request_or_is_refused(data):
    try:
        parse(data)
    except (BadRequest, TooLarge) as error:
        assert error.message


WHERE = orjson.loads((PAGES.parent / "test" / "where.json").read_bytes())
"""What the browser decides by, too: see clientsync/browser/test/fields.test.ts."""


@pytest.mark.parametrize(("value", "where", "found"), WHERE)
def test_an_object_matches_when_each_field_has_a_value_that_is_asked_for(value, where, found):
    assert matches(value, where) is found


ORDER = orjson.loads((PAGES.parent / "test" / "order.json").read_bytes())
"""How pages order values, too: see clientsync/browser/test/order.test.ts."""


@pytest.mark.parametrize(("first", "second", "expected"), ORDER)
def test_two_values_have_the_order_that_pages_give_them(first, second, expected):
    one, other = order_key(first), order_key(second)
    assert (one > other) - (one < other) == expected


def test_a_replica_orders_objects_by_a_field_then_by_id():
    values = {"a": {"n": True}, "b": {"n": 2}, "c": {}, "d": {"n": False}, "e": 7, "f": {"n": "1"}}
    replica = Replica(rows={("note", id_): Row(1, value, there=True) for id_, value in values.items()})
    assert [id_ for id_, _ in replica.ordered("note", "n")] == ["c", "e", "d", "a", "b", "f"]
    assert [id_ for id_, _ in replica.ordered("note", "n", descending=True)] == ["f", "b", "a", "d", "e", "c"]


def test_base_revisions_are_read_or_refused():
    assert base_revisions("") == {}
    assert base_revisions("note.a=17,fax.F_1=0") == {("note", "a"): 17, ("fax", "F_1"): 0}
    for header in ("note.a", "note.a=", "note.a=-1", "note=1", "note.*=1", "x" * 70 + ".a=1", "note.a=" + "9" * 20):
        with pytest.raises(BadRequest):
            base_revisions(header)
    with pytest.raises(BadRequest, match="17 base revisions"):
        base_revisions(",".join(f"note.n{n}=1" for n in range(17)))


def test_a_shape_has_the_fields_that_are_there_and_asked_for():
    assert shaped({"a": 1, "b": None, "c": 3}, ["b", "c", "d"]) == {"b": None, "c": 3}
    assert shaped([1], ["a"]) == [1]
    assert shaped({"a": 1}, None) == {"a": 1}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 9), st.booleans())))
def test_a_checksum_kept_by_steps_is_that_of_what_is_left(steps):
    kept, rows = Checksum(), {}
    for type_, id_, seq, there in steps:
        if there:
            kept.put(type_, id_, seq)
            rows[type_, id_] = seq
        else:
            kept.drop(type_, id_)
            rows.pop((type_, id_), None)
    assert kept.count == len(rows)
    assert kept.sum == sum(digest(*key, seq) for key, seq in rows.items()) % (1 << 64)


def test_the_checksum_is_the_one_that_is_written_down():
    """Other languages compute the same: this number is in docs/reference/client-sync.md."""
    assert f"{digest('fax', 'f1', 17):016x}" == "2c95651b2dd35402"


def test_a_beacon_names_sequences_by_steps():
    said = beacon("e", 10, 20, 17, [12, 13, 17], 1.0)
    assert said["changes"] == [2, 1, 4]
    assert beacon("e", 10, 20, 0, [], 1.0)["changes"] == []


def test_a_busy_tenants_beacon_begins_later_instead_of_lying():
    recent = Recent(floor=5)
    for seq in range(6, 6 + KEPT + 10):
        recent.add(seq, 0.0)
    assert len(recent.seqs) == KEPT
    assert recent.floor == 15
    assert recent.seqs[0] == 16


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("720h0m0s", 2_592_000), ("1m30s", 90), ("1.5h", 5400), ("never", None), ("", None), ("h", None)],
)
def test_times_to_live_are_read_as_the_server_writes_them(text, seconds):
    assert _seconds(text) == seconds


def client(tags=("tenant:acme",), issuer="BROWSER", name="ada") -> dict:
    payload = base64.urlsafe_b64encode(orjson.dumps({"name": name})).decode().rstrip("=")
    return {"issuer_key": issuer, "tags": list(tags), "jwt": f"h.{payload}.s"}


def test_a_connection_is_a_persons_only_in_the_role_browser():
    assert person(client(), "BROWSER") == Person("acme", "ada")
    assert person(client(issuer="WORKER"), "BROWSER") is None
    assert person(client(tags=()), "BROWSER") is None
    assert person(client(tags=("tenant:*",)), "BROWSER") is None
    assert person({"issuer_key": "BROWSER", "tags": ["tenant:acme"]}, "BROWSER") is None
    assert person(client(name="ä ö@x"), "BROWSER") == Person("acme", "ä ö@x")


def test_somebody_is_online_until_the_last_connection_ends():
    online = Online()
    online.connected(("s", 1), Person("acme", "ada"))
    online.connected(("t", 1), Person("acme", "ada"))
    assert online.gone(("s", 1)) == Person("acme", "ada")
    assert online.names("acme") == {"ada"}
    online.gone(("t", 1))
    assert (online.names("acme"), online.tenants) == (set(), set())
    assert online.gone(("t", 1)) is None
    online.connected(("s", 2), Person("acme", "bob"))
    assert online.replace({("s", 3): Person("acme", "bob"), ("s", 4): Person("zeta", "eve")}) == {"zeta"}


# The rules of the store, one by one; random histories are in test_clientsync_model.py


def answered(replica: Replica, *changes: dict, next_: int, epoch="e", more=False, base=None, **rest) -> None:
    assert replica.request(0.0) is not None
    replica.reply(
        {
            "epoch": epoch,
            "changes": list(changes),
            "next": next_,
            "more": more,
            "base": base,
            "reset": False,
            "checksum": None,
            **rest,
        }
    )


def put(id_: str, seq: int, value=1) -> dict:
    return {"type": "fax", "id": id_, "seq": seq, "value": value}


def fresh(*changes: dict, next_: int = 10) -> Replica:
    replica = Replica()
    replica.connected(0.0)
    answered(replica, *changes, next_=next_)
    return replica


@given(st.permutations([("a", 11, "x", False), ("a", 13, None, True), ("a", 12, "y", False), ("b", 14, "z", False)]))
def test_the_order_in_which_events_arrive_does_not_matter(events):
    replica = fresh(put("a", 5))
    for id_, seq, value, deleted in events:
        replica.live("fax", id_, seq, value, deleted=deleted)
    assert replica.view() == {("fax", "b"): "z"}


def test_an_event_from_before_its_position_brings_nothing_back():
    replica = fresh(put("a", 5))
    replica.live("fax", "a", 11, None, deleted=True)
    replica.beacon({"epoch": "e", "from": 8, "upto": 11, "changes": [3]}, 0.0)
    assert (replica.since, replica.rows) == (11, {})
    replica.live("fax", "a", 9, "late", deleted=False)
    assert replica.view() == {}


def test_what_arrives_before_the_first_answer_is_not_shown_and_taken_back_but_asked_for():
    replica = Replica()
    replica.connected(0.0)
    assert replica.request(0.0) is not None
    replica.live("fax", "a", 14, "newer", deleted=False)
    assert replica.view() == {}, "nobody knows yet of which epoch it is"
    replica.reply(
        {
            "epoch": "e",
            "changes": [put("a", 13, "older")],
            "next": 13,
            "more": False,
            "base": None,
            "reset": False,
            "checksum": None,
        }
    )
    assert replica.view() == {("fax", "a"): "older"}
    answered(replica, put("a", 14, "newer"), next_=14)
    assert replica.view() == {("fax", "a"): "newer"}
    assert replica.request(0.0) is None


def test_a_beacon_that_names_what_is_missing_makes_it_ask_after_a_moment():
    replica = fresh()
    replica.live("fax", "b", 12, 1, deleted=False)
    replica.beacon({"epoch": "e", "from": 8, "upto": 12, "changes": [3, 1]}, 100.0)
    assert replica.since == 10
    assert replica.request(100.0 + GRACE / 2) is None
    assert replica.request(100.0 + GRACE)["since"] == 10


@pytest.mark.parametrize("said", [{"epoch": "other", "from": 0}, {"epoch": "e", "from": 11}])
def test_another_epoch_or_a_missed_beacon_makes_it_ask_at_once(said):
    replica = fresh()
    assert replica.request(0.0) is None
    replica.beacon({"upto": 20, "changes": [], **said}, 0.0)
    assert replica.request(0.0) is not None


def test_silence_makes_it_ask():
    replica = fresh()
    assert replica.request(SILENCE - 1) is None
    assert replica.request(SILENCE) is not None


def test_while_an_answer_is_awaited_beacons_move_nothing():
    replica = fresh(put("a", 5))
    replica.beacon({"epoch": "other", "from": 0, "upto": 0, "changes": []}, 0.0)
    assert replica.request(0.0) is not None
    replica.live("fax", "a", 12, None, deleted=True)
    replica.beacon({"epoch": "e", "from": 9, "upto": 12, "changes": [3]}, 0.0)
    late = {"changes": [put("a", 11)], "next": 11, "more": False, "base": None, "reset": False, "checksum": None}
    replica.reply({"epoch": "e", **late})
    assert replica.view() == {}


def test_what_was_there_stays_visible_until_a_snapshot_is_complete():
    replica = fresh(put("a", 5), put("b", 6))
    replica.beacon({"epoch": "new", "from": 0, "upto": 0, "changes": []}, 0.0)
    answered(replica, next_=0, epoch="new", reset=True)
    assert set(replica.view()) == {("fax", "a"), ("fax", "b")}
    answered(replica, put("c", 1), next_=1, epoch="new", more=True, base=2)
    assert set(replica.view()) == {("fax", "a"), ("fax", "b"), ("fax", "c")}
    answered(replica, put("a", 2, "new"), next_=2, epoch="new")
    assert replica.view() == {("fax", "c"): 1, ("fax", "a"): "new"}


def test_one_wrong_checksum_is_looked_at_again_and_two_start_over():
    replica = fresh(put("a", 5))
    replica.check()
    answered(replica, next_=10, checksum={"count": 2, "sum": "0"})
    assert replica.since == 10
    right = checksum(replica.rows)
    answered(replica, next_=10, checksum={"count": right[0], "sum": right[1]})
    assert replica.request(0.0) is None
    replica.check()
    answered(replica, next_=10, checksum={"count": 2, "sum": "0"})
    answered(replica, next_=10, checksum={"count": 2, "sum": "0"})
    asked = replica.request(0.0)
    assert asked is not None
    assert asked["since"] == 0


def test_a_checksum_says_nothing_about_what_changed_since():
    replica = fresh(put("a", 5))
    replica.check()
    replica.live("fax", "b", 12, 1, deleted=False)
    for _ in range(3):
        replica.check()
        answered(replica, next_=10, checksum={"count": 9, "sum": "0"})
    assert replica.since == 10


async def test_a_page_of_two_types_never_passes_over_what_was_written_while_it_was_read():
    """They are read one after the other; between them something is written to the one that was read first."""
    store = ModelStore(Random(0))
    for n in range(3):
        store.write(f"obj.acme.fax.f{n}", b"{}", {})
    tail = Tail(store, facts_age=-1)
    await tail.advance()
    reading = store.page

    async def page(wanted, start, **options):
        found = await reading(wanted, start, **options)
        if wanted == "obj.acme.call.*":
            store.write("obj.acme.call.late", b"{}", {})
            store.write("obj.acme.fax.later", b"{}", {})
        return found

    store.page = page  # type: ignore[method-assign]
    reply = await Puller(store, tail).answer("acme", parse(b'{"types": ["call", "fax"]}'))
    assert reply["next"] <= 3
    store.page = reading  # type: ignore[method-assign]
    position = {"since": reply["next"], "epoch": reply["epoch"], "types": ["call", "fax"]}
    later = await Puller(store, tail).answer("acme", parse(orjson.dumps(position)))
    assert {change["id"] for change in later["changes"]} == {"late", "later"}


async def test_ever_new_views_are_not_read_for_ever(monkeypatch):
    """A checksum of a new view reads all objects of its type: who asks for another one each time gets none."""
    store = ModelStore(Random(0))
    for n in range(5):
        store.write(f"obj.acme.fax.f{n}", orjson.dumps({"n": n}), {})
    tail = Tail(store, facts_age=-1)
    await tail.advance()
    puller = Puller(store, tail)

    async def checked(where: object) -> dict | None:
        request = {"types": ["fax"], "where": {"fax": {"n": where}}, "checksum": True}
        return (await puller.answer("acme", parse(orjson.dumps(request))))["checksum"]

    assert await checked(3) is not None
    assert [await checked(n) for n in range(100, 150)][-1] is None
    assert await checked(3) is not None  # it is kept


async def test_a_view_that_is_too_large_has_no_checksum_and_is_not_kept(monkeypatch):
    monkeypatch.setattr("headway.clientsync.views.MAX_OBJECTS", 3)
    store = ModelStore(Random(0))
    for n in range(5):
        store.write(f"obj.acme.fax.f{n}", b"{}", {})
    tail = Tail(store, facts_age=-1)
    await tail.advance()
    reply = await Puller(store, tail).answer("acme", parse(b'{"types": ["fax"], "checksum": true}'))
    assert (len(reply["changes"]), reply["checksum"]) == (5, None)
