"""At rest a client's store equals the stream, whatever happened before: random histories against a modelled server."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headway.bus.errors import ConnectionFailed, StoreError
from headway.clientsync import protocol
from headway.clientsync.beacons import Beacons
from headway.clientsync.pull import Puller
from headway.clientsync.replica import Replica
from headway.clientsync.tail import Tail
from tests.support.clientsync_model import ModelStore

TENANT = "acme"
TYPES = ["call", "fax"]
WINDOW = 1000.0
ROUND = 2.0

tenants = st.sampled_from([TENANT, TENANT, TENANT, "zeta"])
types = st.sampled_from([*TYPES, "other"])
ids = st.sampled_from(["a", "b", "c", "d"])
values = st.sampled_from(["new", "sent", None])
some_changes = st.lists(st.tuples(tenants, types, ids, values), min_size=1, max_size=6)
troubles = st.sampled_from(["age", "lag", "no leader", "remake", "restart 0", "restart 1", "cut", "back", "back"])
pick = st.integers(0, 1_000_000)


class Sync(RuleBasedStateMachine):
    """A stream, two instances of client sync, and a client behind a network that loses and reorders."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = 0.0
        self.flying: list[tuple[str, str, int, Any, bool]] = []
        self.beacons: list[dict[str, Any]] = []
        self.reply: dict[str, Any] | None = None
        self.connected = True
        self.client = Replica()
        self.shown: dict[tuple[str, str], int] = {}
        self.remade = False

    @initialize(
        seed=pick,
        replicas=st.sampled_from([1, 1, 3]),
        filtered=st.booleans(),
        all_types=st.booleans(),
        limit=st.integers(1, 4),
    )
    def begin(self, *, seed: int, replicas: int, filtered: bool, all_types: bool, limit: int) -> None:
        self.store = ModelStore(Random(seed), replicas)
        where = {"fax": {"state": "sent"}} if filtered and not all_types else {}
        self.client = Replica(None if all_types else TYPES, where, limit)
        self.instances = [self._instance(), self._instance()]
        self.client.connected(self.clock)

    def _instance(self) -> tuple[Tail, Puller, Beacons]:
        tail = Tail(self.store, tombstones=WINDOW, facts_age=-1)

        async def publish(subject: str, data: bytes) -> None:
            if self.connected and subject == f"live.{TENANT}.head":
                self.beacons.append(orjson.loads(data))

        return tail, Puller(self.store, tail, again=(0, 0, 0)), Beacons(publish, tail, lambda: {TENANT})

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    # What services do

    @rule(changes=some_changes)
    def objects_change(self, changes: list[tuple[str, str, str, str | None]]) -> None:
        for tenant, type_, id_, state in changes:
            value = None if state is None else {"state": state, "n": self.store.count}
            headers = {"Headway-Operation": "delete", "Nats-TTL": str(int(WINDOW))} if value is None else {}
            data = b"" if value is None else orjson.dumps(value)
            stored = self.store.write(f"obj.{tenant}.{type_}.{id_}", data, headers)
            if self.connected and tenant == TENANT:
                self.flying.append((type_, id_, stored.seq, value, value is None))

    # What becomes of the server

    @rule(trouble=troubles, much=pick)
    def trouble(self, trouble: str, much: int) -> None:
        if trouble == "age":
            self._age([1.0, 300.0, 970.0, 1500.0][much % 4])
        elif trouble in ("cut", "back"):
            self._connection(cut=trouble == "cut")
        elif trouble == "lag":
            self.store.lag = much % 6
        elif trouble == "no leader":
            self.store.leaderless = not self.store.leaderless
        elif trouble == "remake":
            self.store.remake()
            self.remade = True
            self.flying.clear()
        else:
            which = int(trouble[-1])
            self.instances[which] = self._instance()

    @rule(changes=some_changes, seconds=st.sampled_from([1.0, 300.0, 970.0, 1500.0]))
    def the_client_is_away_while_objects_change(self, changes: list[tuple[str, str, str, str | None]], seconds: float):
        self._connection(cut=True)
        self.objects_change(changes)
        self._age(seconds)
        self._connection(cut=False)

    @rule(which=st.sampled_from([0, 1]), beacon=st.booleans())
    def client_sync_looks(self, *, which: int, beacon: bool) -> None:
        tail, _, beacons = self.instances[which]
        try:
            self.run(tail.advance())
            if beacon:
                self.run(beacons.send())
        except (ConnectionFailed, StoreError):
            return

    # What becomes of messages

    @precondition(lambda self: self.flying)
    @rule(fates=st.lists(st.tuples(pick, st.sampled_from(["here", "here", "lost"])), min_size=1, max_size=8))
    def events_arrive(self, fates: list[tuple[int, str]]) -> None:
        for which, fate in fates:
            if self.flying:
                type_, id_, seq, value, deleted = self.flying.pop(which % len(self.flying))
                if fate == "here":
                    self.client.live(type_, id_, seq, value, deleted=deleted)

    @precondition(lambda self: self.beacons)
    @rule(fates=st.lists(st.tuples(pick, st.sampled_from(["here", "here", "lost"])), min_size=1, max_size=3))
    def beacons_arrive(self, fates: list[tuple[int, str]]) -> None:
        for which, fate in fates:
            if self.beacons:
                said = self.beacons.pop(which % len(self.beacons))
                if fate == "here":
                    self.client.beacon(said, self.clock)

    @precondition(lambda self: self.reply is None and self.connected)
    @rule(which=st.sampled_from([0, 1]), check=st.booleans(), waited=st.sampled_from([0.0, 1.5]))
    def the_client_asks(self, *, which: int, check: bool, waited: float) -> None:
        self.clock += waited
        if check:
            self.client.check()
        self._ask(which)

    @precondition(lambda self: self.reply is not None)
    @rule(fate=st.sampled_from(["here", "here", "here", "lost"]))
    def the_answer_arrives(self, fate: str) -> None:
        said, self.reply = self.reply, None
        if fate == "lost":
            self.client.failed()
        else:
            assert said is not None
            self.client.reply(said)

    @rule()
    def all_is_well_for_a_while(self) -> None:
        """So that histories get far, and what comes next happens to a client that is up to date."""
        if self.connected and not self.store.leaderless:
            self._round()

    def _age(self, seconds: float) -> None:
        self.store.age(seconds)
        for tail, _, _ in self.instances:
            tail._horizon = None

    def _connection(self, *, cut: bool) -> None:
        self.flying.clear()
        self.beacons.clear()
        self.reply = None
        self.connected = not cut
        if self.connected:
            self.client.connected(self.clock)

    def _ask(self, which: int) -> None:
        asked = self.client.request(self.clock)
        if asked is None:
            return
        try:
            request = protocol.parse(orjson.dumps(asked))
            said = self.run(self.instances[which][1].answer(TENANT, request))
            self.reply = orjson.loads(orjson.dumps(said))
        except (ConnectionFailed, StoreError):
            self.client.failed()

    @invariant()
    def nothing_that_is_shown_goes_back(self) -> None:
        """As long as the stream has one life; in another one sequences begin anew."""
        if self.remade:
            return
        for key, row in (self.client.old | self.client.rows).items():
            assert row.seq >= self.shown.get(key, 0), f"{key} goes back to {row.seq}"
            self.shown[key] = row.seq

    def teardown(self) -> None:
        try:
            self._rest()
        finally:
            self.loop.close()

    def _rest(self) -> None:
        """Nothing changes any more, nothing more is lost. Beacons alone have to show what is missing: no silence, and
        no new connection if there is one.
        """
        self.store.leaderless, self.store.lag = False, 0
        if not self.connected:
            self._connection(cut=False)
        for _ in range(5):
            self._round()
        self._settled()
        asked = self.client.pulls
        self._round()
        assert self.client.pulls == asked, "it goes on asking although nothing is missing"
        # And the checksum agrees; the one of a view that misses something does not.
        self.client.check()
        self._pull_all()
        assert not self.client._check, "the checksum was void or wrong at rest"
        self._settled()

    def _round(self) -> None:
        self.clock += ROUND
        for type_, id_, seq, value, deleted in self.flying:
            self.client.live(type_, id_, seq, value, deleted=deleted)
        self.flying.clear()
        for which in (0, 1):
            tail, _, beacons = self.instances[which]
            self.run(tail.advance())
            self.run(beacons.send())
        for said in self.beacons:
            self.client.beacon(said, self.clock)
        self.beacons.clear()
        self._pull_all()
        self.clock += 1.1
        self._pull_all()

    def _pull_all(self) -> None:
        for _ in range(200):
            if self.reply is None:
                self._ask(0)
            if self.reply is None:
                return
            said, self.reply = self.reply, None
            self.client.reply(said)
        raise AssertionError("it never stops asking")

    def _settled(self) -> None:
        expected = {}
        for subject, stored in self.store.now.items():
            _, tenant, type_, id_ = subject.split(".")
            if tenant != TENANT or not stored.data or (self.client.types and type_ not in self.client.types):
                continue
            value = orjson.loads(stored.data)
            if protocol.matches(value, self.client.where.get(type_)):
                expected[type_, id_] = value
        assert self.client.view() == expected


TestSync = Sync.TestCase
TestSync.settings = settings(stateful_step_count=60)
