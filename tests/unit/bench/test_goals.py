"""Goals, and what is printed about them."""

from __future__ import annotations

import json

import pytest

from bench import __main__ as command
from bench import goals
from bench.goals import Goal, judge
from bench.numbers import OURS
from bench.report import Report, as_object, as_table


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [("at least", 5.0, True), ("at least", 4.99, False), ("at most", 5.0, True), ("at most", 5.01, False)],
)
def test_a_goal_is_met_at_its_bound_and_beyond(sense, value, met) -> None:
    assert Goal("peer", 5.0, sense).met(value) is met


def test_what_was_not_measured_is_not_met() -> None:
    assert [verdict.met for verdict in judge(goals.JOBS, {goals.FASTSTREAM_JOBS: 6.0})] == [True, False]


def test_the_goals_are_those_that_were_promised() -> None:
    promised = {(goal.of, goal.bound, goal.sense) for goal in (*goals.JOBS, *goals.RPC, *goals.FAIR, *goals.LEAN)}
    assert promised == {
        (goals.FASTSTREAM_JOBS, 5.0, "at least"),
        (goals.RAW_JOBS, 0.5, "at least"),
        (goals.FASTSTREAM_RPC, 2.5, "at least"),
        (goals.RAW_RPC, 0.8, "at least"),
        (goals.WORST_TENANT, 1.5, "at most"),
        (goals.WORST_TENANT_EMPTY, 3.0, "at most"),
        (goals.SHARE_ERROR, 0.05, "at most"),
        (goals.THROUGHPUT, 0.95, "at least"),
        (goals.MEMORY, 60.0, "at most"),
    }


def report(ratio: float) -> Report:
    values = {OURS: ratio * 10, goals.RAW_RPC: 10.0}
    found = {goals.RAW_RPC: ratio}
    verdicts = judge([Goal(goals.RAW_RPC, 0.8, "at least")], found)
    rounds = {name: [value] for name, value in values.items()}
    return Report("rpc", "a title", "calls/s", values, rounds, found, verdicts)


def test_the_object_maps_each_peer_to_ours_divided_by_it() -> None:
    printed = json.loads(json.dumps(as_object(report(0.9))))
    assert printed["ratios"] == {goals.RAW_RPC: 0.9}
    assert printed["met"] is True
    assert printed["versions"]["nats-py"]
    assert printed["machine"]["cpus"] >= 1


def test_a_missed_goal_stands_out_in_the_table() -> None:
    assert "MISSED" in as_table(report(0.7))
    assert "MISSED" not in as_table(report(0.9))


def exit_code(monkeypatch: pytest.MonkeyPatch, ratio: float, *options: str) -> int:
    async def measured(*_args: object, **_options: object) -> Report:
        return report(ratio)

    monkeypatch.setattr("bench.rpc.measure.measure", measured)  # of which the import takes a while
    return command.main(["rpc", *options])


def test_only_check_turns_a_missed_goal_into_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_code(monkeypatch, 0.7) == 0
    assert exit_code(monkeypatch, 0.7, "--check") == 1
    assert exit_code(monkeypatch, 0.9, "--check") == 0


def test_json_is_one_object_on_the_last_line(monkeypatch, capsys) -> None:
    exit_code(monkeypatch, 0.9, "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bench"] == "rpc"


@pytest.mark.parametrize("wrong", [["jobs", "--rounds", "0"], ["nothing"], []])
def test_a_wrong_command_line_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(wrong)
    assert ended.value.code == 2
