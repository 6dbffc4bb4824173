"""What each fault cost, as it is read from a history."""

from __future__ import annotations

from tests.zones.history import Entry
from tests.zones.report import felt, table


def entry(at, process, type_, op, value=None, error=None) -> Entry:
    return Entry(at, process, type_, op, value, error)


HISTORY = [
    entry(10, "nemesis", "invoke", "isolate", {}),
    entry(11, "a", "invoke", "call", {"timeout": 2}),
    entry(12, "a", "ok", "call", {}),
    entry(13, "a", "invoke", "call", {"timeout": 2}),
    entry(15, "a", "fail", "call", {}, "deadline_exceeded"),
    entry(16, "a", "invoke", "call", {"timeout": 2}),
    entry(17, "a", "ok", "call", {}),
    entry(17, "b", "invoke", "put", {"timeout": 2, "expect": 1}),
    entry(18, "b", "fail", "put", {}, "conflict"),
    entry(20, "nemesis", "seen", "mended"),
    entry(24, "nemesis", "ok", "isolate"),
    entry(25, "nemesis", "invoke", "kill-web", {}),
    entry(25, "nemesis", "seen", "mended"),
    entry(26, "b", "invoke", "submit", {"timeout": 2}),
    entry(28, "b", "info", "submit", {}, "not_stored"),
    entry(29, "nemesis", "ok", "kill-web"),
]


def test_of_each_fault_the_longest_gap_of_one_client_and_what_failed_are_told_until_the_next_one():
    isolated, killed = felt(HISTORY)
    assert (isolated.kind, isolated.lasted, isolated.back) == ("isolate", 10, 4)
    assert isolated.gaps == {"calls": 5, "jobs": 0, "objects": 1}
    assert isolated.failed == {"calls": 1, "jobs": 0, "objects": 0}, "losing a compare-and-set is no failure"
    assert killed.gaps == {"calls": 0, "jobs": 2, "objects": 0}, "nothing was done at all"
    assert (killed.kind, killed.failed) == ("kill-web", {"calls": 0, "jobs": 1, "objects": 0})


def test_the_table_has_the_worst_of_each_kind():
    lines = table([*felt(HISTORY), *felt(HISTORY)]).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["isolate", "2"], ["kill-web", "2"]]
    assert "5.0 s" in lines[1]
