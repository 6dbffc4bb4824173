"""The checker of the chaos tests: histories in which all was kept pass, and each that breaks one promise is found."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zones.checker import check
from tests.zones.history import Entry, History, line, load, merged, operations
from tests.zones.promises import agents, calls, events, jobs, objects, rollouts


class Story:
    """A history as it is told: each event is a second after the one before it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.now = 0.0

    def at(self, now: float) -> Story:
        self.now = now
        return self

    def tell(self, process, type_, op, value=None, error=None) -> Story:
        self.entries.append(Entry(self.now, process, type_, op, value, error))
        self.now += 1.0
        return self

    def asked(self, process, op, asked, got=None, error=None, outcome=None) -> Story:
        """Asked, and answered a second later."""
        self.tell(process, "invoke", op, asked)
        return self.tell(process, outcome or ("ok" if error is None else "fail"), op, got, error)

    def submitted(self, key, seq, **more) -> Story:
        got = {"stream": "JOBS", "seq": seq, "duplicate": False}
        return self.asked(f"submit-{key}", "submit", {"key": key, "timeout": 5.0}, got, **more)

    def done(self, key, version="v1", began=None) -> Story:
        began = self.now if began is None else began
        return self.tell("worker", "seen", "effect", {"key": key, "version": version, "began": began})

    def put(self, id_, value, revision, expect=None, process="writer", **more) -> Story:
        asked = {"id": id_, "value": value, "expect": expect, "timeout": 5.0}
        return self.asked(process, "put", asked, {"revision": revision}, **more)

    def saw(self, id_, revision, value, process="reader") -> Story:
        return self.tell(process, "seen", "view", {"id": id_, "revision": revision, "value": value})

    def end(self, **there) -> Story:
        return self.tell("end", "seen", "objects", there)

    def called(self, error=None, timeout=5.0, version="v1") -> Story:
        return self.asked("caller", "call", {"number": 1, "timeout": timeout}, {"version": version}, error)

    def routed(self, call, agent, process="a") -> Story:
        return self.asked(process, "route", {"call": call, "timeout": 5.0}, {"agent": agent})

    def hung_up(self, call, process="a") -> Story:
        return self.asked(process, "hangup", {"call": call, "timeout": 5.0}, {})

    def phases(self, *phases, number=1, version="v2", before="v1", began=None) -> Story:
        began = self.now if began is None else began
        for phase in phases:
            facts = {"version": version, "before": before, "began": began, "since": self.now}
            self.tell("records", "seen", "rollout", {"number": number, "phase": phase, **facts})
        return self

    def broken(self, seconds=10.0) -> Story:
        self.tell("nemesis", "invoke", "kill", {})
        return self.at(self.now + seconds).tell("nemesis", "ok", "kill")

    @property
    def found(self) -> set[str]:
        return {finding.promise for finding in check(self.entries)}


def kept() -> Story:
    """A run in which much went wrong, and every promise was kept."""
    story = Story()
    story.tell("nemesis", "invoke", "pause", {})
    story.submitted("k1", 0, error="not_stored", outcome="info").submitted("k1", 1).done("k1").done("k1")
    story.submitted("k2", 0, error="not_served")
    story.called("deadline_exceeded").called("unavailable").called()
    story.put("o1", "a", 1).put("o1", "b", 2, expect=1).put("o1", "c", 0, expect=1, error="conflict")
    story.put("o1", "d", 0, error="not_stored", outcome="info")
    story.saw("o1", 1, "a").saw("o1", 3, "d").saw("o1", 1, "a", process="another").put("o2", None, 4)
    story.routed("c1", None).routed("c1", "ann").hung_up("c1").routed("c2", "ann").hung_up("c2")
    story.phases("verify", "warm-up", "judge", "drain", "standby", "done").called(version="v2")
    story.phases("warm-up", "back", "rolled-back", number=2, version="v3", before="v2").at(story.now + 10)
    third = {"number": 3, "version": "v1", "before": "v2", "began": story.now}
    story.phases("verify", "judge", **third).called(version="v1").phases("done", **third)
    story.tell("nemesis", "ok", "pause")
    story.at(story.now + calls.SHORTLY - 1).called("not_served")
    story.end(o1=(3, "d"), o2=(4, None))
    return story.tell("end", "seen", "desk", {"agents": {"bob": "c3"}, "calls": {"c3": "bob"}})


def test_a_run_in_which_all_was_kept_has_no_findings():
    assert kept().found == set()
    assert jobs.repeated(kept().entries) == 1
    assert check([]) == []


@pytest.mark.parametrize(
    ("finding", "broken"),
    [
        (jobs.LOST, lambda story: story.submitted("k9", 9)),
        (jobs.REUSED, lambda story: story.submitted("k8", 8).done("k8").submitted("k9", 8).done("k9")),
        (jobs.FOREIGN, lambda story: story.done("k9")),
        (objects.BACK, lambda story: story.saw("o1", 2, "b")),
        (objects.LOST, lambda story: story.put("o1", "z", 9)),
        (objects.LOST, lambda story: story.put("o3", "z", 9)),
        (objects.LOST, lambda story: story.put("o1", "z", 9).end(o1=(9, "y"), o2=(4, None))),
        (objects.LOST, lambda story: story.put("o1", None, 9).end(o1=(8, "z"), o2=(4, None))),
        (objects.TWO_WINNERS, lambda story: story.put("o1", "z", 9, expect=1)),
        (objects.ORDER, lambda story: story.put("o5", "z", 3)),
        (objects.TWO_VALUES, lambda story: story.saw("o1", 2, "x", process="third")),
        (objects.TWO_VALUES, lambda story: story.saw("o3", 3, "d", process="third")),
        (calls.HANGS, lambda story: story.broken().tell("b", "invoke", "call", {"timeout": 1.0}).at(99).broken()),
        (calls.HANGS, lambda story: story.tell("b", "invoke", "get", {"timeout": 1.0}).at(999).broken()),
        (calls.UNCLEAR, lambda story: story.called("remote_error")),
        (calls.UNCLEAR, lambda story: story.put("o1", "z", 0, error="store")),
        (calls.UNCLEAR, lambda story: story.put("o1", "z", 0, error="conflict")),
        (calls.WITHOUT_CAUSE, lambda story: story.at(story.now + calls.SHORTLY + 1).called("deadline_exceeded")),
        (agents.TWO_AGENTS, lambda story: story.routed("c2", "bob")),
        (agents.TWO_CALLS, lambda story: story.routed("c5", "bob").routed("c6", "bob", process="b").hung_up("c5")),
        (
            agents.TWO_CALLS,
            lambda story: story.tell(
                "end", "seen", "desk", {"agents": {"bob": "c3"}, "calls": {"c3": "bob", "c4": "bob"}}
            ),
        ),
        (agents.TWO_CALLS, lambda story: story.tell("end", "seen", "desk", {"agents": {}, "calls": {"c3": "bob"}})),
        (rollouts.UNFINISHED, lambda story: story.phases("shift", "judge", number=9)),
        (rollouts.ILLEGAL, lambda story: story.phases("verify", "back", "rolled-back", "shift", "done", number=9)),
        (rollouts.ILLEGAL, lambda story: story.phases("judge", "refused", number=9)),
        (rollouts.RETIRED, lambda story: story.at(story.now + 5).called(version="v2")),
        (rollouts.RETIRED, lambda story: story.at(story.now + 5).called(version="v3")),
        (rollouts.RETIRED, lambda story: story.at(story.now + 5).done("k1", version="v2")),
    ],
)
def test_one_broken_promise_is_found_and_named(finding, broken):
    story = kept()
    story.at(story.now - 1)
    broken(story)
    assert finding in story.found


def test_an_agent_is_free_for_the_next_call_from_when_somebody_asked_to_hang_up():
    # Whether the answer came is not known; that it was asked for is enough.
    story = Story().routed("c1", "ann").asked("a", "hangup", {"call": "c1", "timeout": 5.0}, error="unavailable")
    story.routed("c2", "ann", process="b")
    assert not agents.agents(story.entries)


def test_a_client_that_did_not_run_is_not_said_to_have_been_kept_waiting():
    story = Story().broken(30).at(5).tell("a", "invoke", "call", {"number": 1, "timeout": 1.0})
    story.at(15).tell("a", "fail", "call", {}, "deadline_exceeded")
    assert story.found == {calls.HANGS}
    story.entries.insert(3, Entry(14.9, "clock", "seen", "stall", {"seconds": 8.0}))
    assert not story.found


def test_a_machine_that_stood_still_is_a_cause():
    story = Story().called("deadline_exceeded")
    assert story.found == {calls.WITHOUT_CAUSE}
    assert not story.tell("clock", "seen", "stall", {"seconds": 2.5}).found


def test_what_was_begun_by_a_version_before_it_was_retired_may_end_later():
    story = Story().submitted("k1", 1).phases("standby", "done").at(20).done("k1", began=1.0)
    assert not rollouts.rollouts(story.entries)


def test_an_operation_that_never_came_back_is_in_doubt():
    story = Story().tell("p", "invoke", "put", {"id": "o1"}).tell("p", "invoke", "put", {"id": "o2"})
    story.tell("p", "ok", "put", {"revision": 1}).tell("q", "invoke", "put", {"id": "o3"})
    found = [(one.asked["id"], one.outcome, one.ended) for one in operations(story.entries, "put")]
    assert found == [("o1", "info", None), ("o2", "ok", 2.0), ("o3", "info", None)]


def test_a_history_is_the_same_when_it_is_read_again(tmp_path):
    path = tmp_path / "history.jsonl"
    history = History(path)
    for entry in kept().entries:
        history.add(entry)
    history.close()
    assert load(path) == [replace(entry, value=_plain(entry.value)) for entry in kept().entries]
    with path.open("ab") as file:
        file.write(line(Entry(1.0, "killed", "seen", "effect"))[:-5])  # while it was writing
    assert len(load(path)) == len(kept().entries)


def _plain(value):
    return {name: list(part) if isinstance(part, tuple) else part for name, part in value.items()} if value else value


# What a server that keeps its promises says to writers who work at the same time, whatever the order in which it takes
# their writes and answers them; and the same with one lie.


@st.composite
def served(draw) -> list[Entry]:
    """Writers and submitters at one honest server."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    told: list[list[Entry]] = []
    last: dict[str, int] = {}
    values: dict[str, str] = {}
    for sequence in range(1, draw(st.integers(2, 25))):
        process, id_, at = f"p{sequence}", f"o{chance.randrange(3)}", sequence * 1.0
        expect = last.get(id_, 0) if chance.random() < 0.5 else None
        # It is taken at one moment between question and answer; questions and answers of many overlap.
        asked, answered = at - chance.uniform(0, 3), at + chance.uniform(0, 3)
        put = {"id": id_, "value": f"v{sequence}", "expect": expect, "timeout": 9.0}
        told.append([Entry(asked, process, "invoke", "put", put)])
        if chance.random() < 0.9:
            told.append([Entry(answered, process, "ok", "put", {"revision": sequence})])
        else:
            told.append([Entry(answered, process, "info", "put", None, "not_stored")])
        last[id_], values[id_] = sequence, f"v{sequence}"
        job = {"stream": "JOBS", "seq": sequence, "duplicate": False}
        told.append([Entry(asked, f"s{sequence}", "invoke", "submit", {"key": process, "timeout": 9.0})])
        told.append([Entry(answered, f"s{sequence}", "ok", "submit", job)])
        done = {"key": process, "version": "v1", "began": at}
        told += [[Entry(at + 5, "worker", "seen", "effect", done)] for _ in range(chance.choice([1, 1, 2]))]
    end = {id_: (last[id_], values[id_]) for id_ in last}
    fault = [Entry(-9.0, "nemesis", "invoke", "kill", {}), Entry(99.0, "nemesis", "ok", "kill")]
    return merged(*told, fault, [Entry(100.0, "end", "seen", "objects", end)])


@given(served())
def test_an_honest_server_is_never_accused(history):
    assert check(history) == []


@given(served(), st.randoms(use_true_random=False))
def test_a_server_that_loses_one_acknowledged_job_is_found(history, chance):
    key = chance.choice([one.asked["key"] for one in operations(history, "submit") if one.ok])
    lost = [entry for entry in history if not (entry.op == "effect" and entry.value["key"] == key)]
    assert {finding.promise for finding in check(lost)} == {jobs.LOST}


@given(served(), st.randoms(use_true_random=False))
def test_a_server_that_loses_the_newest_change_of_an_object_is_found(history, chance):
    acked = {one.asked["id"]: one for one in operations(history, "put") if one.ok}
    if acked:
        id_ = chance.choice(sorted(acked))
        end = {**history[-1].value, id_: (acked[id_].got["revision"] - 1, "older")}
        assert objects.LOST in {finding.promise for finding in check([*history[:-1], replace(history[-1], value=end)])}


@given(served(), st.randoms(use_true_random=False))
def test_a_server_that_gives_a_sequence_twice_is_found(history, chance):
    acked = [entry for entry in history if entry.op == "submit" and entry.type == "ok"]
    if len(acked) > 1:
        one, other = chance.sample(acked, 2)
        changed = replace(one, value={**one.value, "seq": other.value["seq"]})
        told = [changed if entry is one else entry for entry in history]
        assert jobs.REUSED in {finding.promise for finding in check(told)}


def test_an_event_that_was_acknowledged_and_never_handled_is_lost():
    story = Story().asked("emit", "emit", {"key": "e1", "timeout": 5.0}, {})
    assert story.found == {events.LOST}
    assert not story.tell("worker", "seen", "heard", {"key": "e1"}).found


def test_an_event_that_was_not_acknowledged_may_be_lost():
    asked = {"key": "e1", "timeout": 5.0}
    assert events.events(Story().asked("emit", "emit", asked, error="not_stored", outcome="info").entries) == []


def test_an_event_that_nobody_emitted_is_not_handled():
    assert Story().tell("worker", "seen", "heard", {"key": "e1"}).found == {events.FOREIGN}
