"""How rollouts are shown: in 80 columns, whatever their phase and however long their reasons."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from headway import rollouts
from headway.control.records import Asked, Past, Point, RolloutRecord, ScaleRecord, Transition, Verdict, VersionRecord

REASON = "53 of 1,003 failed at v2 (5.3%), 12 of 3,011 at v1 (0.4%); by chance with 2e-12, 0.0003 is allowed"
VERSIONS = {
    name: VersionRecord(service="fax", version=name, app="fax:fax", root="/", weight=weight)
    for name, weight in (("v1", 75), ("v2", 25))
}
SCALES = {"v1": ScaleRecord(service="fax", version="v1", desired=4)}


def record(phase="judge", **changes) -> RolloutRecord:
    return RolloutRecord(
        service="fax",
        number=2,
        version="v2",
        before="v1",
        phase=phase,
        step=1,
        began=1.0,
        history=(Transition(at=1.0, before="verify", after="warm-up", reason=REASON),),
        past=(Past(number=1, version="v1", before=None, outcome="done", began=0, ended=1, reason=REASON),),
        **changes,
    )


def shown(what) -> str:
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("phase", ["verify", "judge", "standby", "back", "rolled-back", "refused"])
def test_it_fits_80_columns(phase):
    made = record(phase, note="waits", abort=REASON if phase == "back" else None)
    for what in (rollouts.live(made, VERSIONS, SCALES), rollouts.past(made), rollouts.transitions(made)):
        assert all(len(line) <= 80 for line in shown(what).splitlines())


def test_the_live_view_shows_shares_workers_step_verdict_and_what_it_waits_for():
    verdict = Verdict(outcome="waiting", reasons=("v2 has had 12 requests",))
    seen = shown(rollouts.live(record(verdict=verdict, note="paused by hand", paused=True), VERSIONS, SCALES))
    assert "fax v1 -> v2  judging 25%  paused" in seen
    assert "75%  4 workers, ok" in seen
    assert "25%" in seen
    assert "waiting: v2 has had 12 requests" in seen
    assert "paused by hand" in seen


def test_the_history_shows_every_rollout_and_why_each_step_was_taken():
    seen = shown(rollouts.past(record("rolled-back", abort="it failed")))
    assert [line.split()[0] for line in seen.splitlines()[1:] if not line.startswith(" ")] == ["1", "2"]
    assert "is allowed" in " ".join(seen.split()), "reasons are not cut"
    assert "rolled-back" in seen
    assert "is allowed" in " ".join(shown(rollouts.transitions(record())).split()), "reasons are not cut"


def test_the_history_says_who_asked_for_what_in_between():
    asked = (Asked(at=2.0, what="pause", by="ada"),)
    steps = tuple(Transition(at=at, before="shift", after="judge", reason=f"step {at:g}") for at in (1.0, 3.0))
    seen = shown(rollouts.transitions(record().model_copy(update={"history": steps, "asked": asked})))
    assert seen.index("step 1") < seen.index("pause, asked by ada") < seen.index("step 3")


def test_what_the_analysis_waits_for_is_said_once():
    waits = "v2 has had 12 requests and v1 230; 50 each are needed"
    verdict = Verdict(outcome="waiting", reasons=(waits,))
    seen = " ".join(shown(rollouts.live(record(note=waits, verdict=verdict), VERSIONS, SCALES)).split())
    assert seen.count(waits) == 1


def test_one_worker_is_one_worker():
    one = {"v1": ScaleRecord(service="fax", version="v1", desired=1)}
    assert "1 worker, ok" in shown(rollouts.live(record(), VERSIONS, one))


def test_the_terminal_and_the_console_call_a_phase_the_same():
    text = (Path(__file__).parents[3] / "clientsync/browser/console/format.ts").read_text()
    body = re.search(r"const PHASES[^{]*\{(.*?)\};", text, re.DOTALL)
    assert body is not None
    assert dict(re.findall(r'"?([a-z-]+)"?: "([a-z ]+)"', body[1])) == dict(rollouts.PHASES)


def test_the_evidence_is_drawn_between_the_two_thresholds():
    grew = tuple(Point(at=n, against=0.0, shown=n / 50) for n in range(51))
    lines = shown(rollouts.evidence(grew)).splitlines()
    assert lines[0].startswith("as good ┄")
    assert lines[0].rstrip().endswith("●"), "it has come to the upper one"
    assert "50 s" in lines[-1]
    fell = tuple(Point(at=n, against=n / 50, shown=0.0) for n in range(51))
    assert shown(rollouts.evidence(fell)).splitlines()[6].rstrip().endswith("●")
    made = record(verdict=Verdict(outcome="waiting", reasons=("too few",), evidence=grew))
    seen = shown(rollouts.live(made, VERSIONS, SCALES))
    assert "as good" in seen
    assert all(len(line) <= 80 for line in seen.splitlines())
