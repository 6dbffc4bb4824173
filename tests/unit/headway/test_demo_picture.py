"""The demo's picture fits its terminal, and its verdict is red whenever anything is wrong."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from headway.control.records import Measured, RolloutRecord, Transition
from headway.demo import screen, summary, work
from headway.demo.progress import DemoEvent, DemoProgress
from headway.demo.release import ReleaseOutcome
from headway.demo.tally import DemoTally
from headway.demo.watch import ServingVersion

REASON = "lag: 1,170 queued and 105.1/s arriving need 9.4 workers at 36.3/s each to drain in 10 s; held at 6"


class Seen:
    """What a `Watch` would have seen at the most crowded moment."""

    def __init__(self) -> None:
        self.waiting = {"fax": 12_345}

    def serving(self, service: str) -> list[None]:
        return [None] * 6

    def rows(self) -> list[ServingVersion]:
        versions = [
            ("calls", "v1", 100),
            ("fax", "v1", 50),
            ("fax", "v2", 50),
            ("fax", "v3", 0),
            ("voicemail", "v1", 100),
        ]
        return [ServingVersion(service, version, weight, 6, 7, 160) for service, version, weight in versions]

    def decided(self) -> list[DemoEvent]:
        return [DemoEvent(1e9 + n, "scaler", f"fax v1 {n} -> {n + 1}: {REASON}") for n in range(40)]


def drawn(width: int, height: int) -> list[str]:
    progress = DemoProgress(act="acme submits 1,000 faxes at once; the others go on calling")
    for tenant in work.TENANTS:
        progress.sent[tenant], progress.done[tenant] = 123_456, 98_765
        progress.called(tenant, 1.234)
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=True)
    console.print(screen.picture(progress, Seen(), width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (100, 30), (80, 20)])
def test_the_picture_fits_the_terminal_and_shows_what_was_decided_last(width, height):
    lines = drawn(width, height)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "fax v1 39 -> 40" in text, "the latest decision"
    for shown in (*work.TENANTS, "calls", "voicemail", "v3", "50%", "12.3k", "■■■■■■ 6/7", "123.5k", "1.2s"):
        assert shown in text


def test_a_tall_terminal_shows_reasons_in_full():
    assert "held at 6" in "".join(drawn(120, 40))


def test_a_line_is_at_most_79_characters():
    assert len(screen.line(DemoProgress(act="x" * 100), Seen())) == 79


def told(**changed) -> dict:
    tally = DemoTally(seconds=50.0)
    tally.counts["fax"].sent = tally.counts["fax"].done = 10
    return {**tally.summary(), **changed}


def style_and_text(facts: dict) -> tuple[str, str]:
    panel = summary.verdict(facts)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(panel)
    return str(panel.style), console.export_text()


def test_the_verdict_is_green_and_tells_what_was_shown():
    burst = {"faxes": 1000, "calls_p95_ms_before": 4.1, "calls_p95_ms_during": 4.4}
    releases = [
        {"version": "v2", "seconds": 12.0, "caught_after_s": None, "caught_after_requests": None},
        {"version": "v3", "seconds": 9.0, "caught_after_s": 6.2, "caught_after_requests": 43},
    ]
    style, text = style_and_text(told(burst=burst, release={"faxes": 500, "releases": releases}))
    assert "green" in style
    assert "Nothing was lost: 1,510 jobs and calls" in text
    assert "4.1 ms before, 4.4 ms" in " ".join(text.split())
    assert "fax v3, the bad release, was taken back after 6 s and 43 requests" in text


@pytest.mark.parametrize("wrong", [{"wrong": ["the release of fax v2 ended at standby"]}, {"lost": 3}])
def test_the_verdict_is_red_whatever_is_wrong(wrong):
    style, text = style_and_text(told(**wrong))
    assert "red" in style
    assert "something is wrong" in text


def test_a_bad_release_was_caught_between_its_first_traffic_and_the_way_back():
    history = (
        Transition(at=10.0, before="shift", after="judge", reason="20%"),
        Transition(
            at=16.5,
            before="judge",
            after="back",
            reason="worse",
            measured=(Measured(version="v3", tries=43, errors=13), Measured(version="v2", tries=170, errors=14)),
        ),
    )
    record = RolloutRecord(service="fax", version="v3", before="v2", history=history)
    assert ReleaseOutcome("v3", "rolled-back", record=record).caught == (6.5, 43)
    assert ReleaseOutcome("v2", "standby", record=record.model_copy(update={"history": history[:1]})).caught is None
