from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from headway.bus.errors import UsageError
from headway.commands.scale import scale
from headway.commands.scale.history import render
from headway.commands.scale.simulate import read_policy
from headway.control.records import Decided, ScaleRecord


def test_a_policy_is_read_from_a_file_and_from_values_later_ones_first(tmp_path):
    (tmp_path / "policy.yaml").write_text("scale:\n  max: 12\n  lag: {drain_within: 5s}\n")
    found = read_policy([str(tmp_path / "policy.yaml"), "min=2", "max=30", "cpu=off", "lag.drain_within=7s"])
    assert (found.min, found.max, found.cpu) == (2, 30, None)
    assert found.lag is not None
    assert found.lag.drain_within == 7


@pytest.mark.parametrize("part", ["no-such-file", "speed=3", "max=many", "lag.drain_within=soon"])
def test_what_is_no_policy_is_refused_in_a_line(part):
    with pytest.raises(UsageError) as caught:
        read_policy([part])
    assert part.split("=", maxsplit=1)[0] in str(caught.value)


def test_simulate_replays_a_file_and_prints_json_or_a_table_of_80_columns(tmp_path):
    (tmp_path / "t.csv").write_text("".join(f"{second},{20 + second}\n" for second in range(40)))
    printed = CliRunner().invoke(scale, ["simulate", str(tmp_path / "t.csv"), "--json"], catch_exceptions=False)
    found = json.loads(printed.output)
    assert found["jobs"] == sum(range(20, 60))
    assert next(iter(found["contenders"])) == "headway"
    assert len(found["contenders"]) == 5
    shown = CliRunner().invoke(scale, ["simulate", str(tmp_path / "t.csv"), "--no-peers"], catch_exceptions=False)
    assert "headway" in shown.output
    assert "knative" not in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


@pytest.mark.parametrize(("suffix", "starts"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_simulate_draws_what_the_suffix_says(tmp_path, suffix, starts):
    pytest.importorskip("matplotlib")
    (tmp_path / "t.csv").write_text("0,20\n1,30\n9,5\n")
    target = tmp_path / f"out.{suffix}"
    CliRunner().invoke(
        scale, ["simulate", str(tmp_path / "t.csv"), "--no-peers", "--picture", str(target)], catch_exceptions=False
    )
    assert target.read_bytes().startswith(starts)


def test_a_picture_of_another_kind_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(UsageError):
        CliRunner().invoke(scale, ["simulate", "--picture", str(tmp_path / "out.gif")], catch_exceptions=False)


def test_history_shows_versions_in_the_order_of_their_decisions():
    def record(version, at):
        return ScaleRecord(
            service="fax", version=version, history=(Decided(at=at, before=1, desired=4, reason=f"why {version}"),)
        )

    table = render({"v1": record("v1", 200.0), "v2": record("v2", 100.0)})
    assert list(table.columns[1].cells) == ["v2", "v1"]
    assert list(table.columns[2].cells) == ["1 -> 4", "1 -> 4"]
