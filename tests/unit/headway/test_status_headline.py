"""The headline of `headway status`: what is wrong, or that nothing is."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from headway.commands.status import problem, render
from headway.status import Status, StatusRow, Trouble

CRASHING = Trouble(health="crash-loop", deaths=5, last_exit="exit code 1", stderr=(), retry_at=None)


def row(**different: Any) -> StatusRow:
    usual: dict[str, Any] = {
        "service": "fax",
        "version": "v1",
        "weight": 100,
        "workers": 2,
        "unhealthy": 0,
        "desired": 2,
        "trouble": None,
        "waiting": 0,
        "in_hand": 0,
        "oldest_s": 0.0,
        "processed": 100,
        "failed": 0,
        "retried": 0,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "rss_mb": 50.0,
    }
    return StatusRow(**{**usual, **different})


@pytest.mark.parametrize(
    ("different", "expected"),
    [
        ({}, None),
        ({"trouble": CRASHING}, "crash-loop"),
        ({"workers": 0}, "has traffic and no worker"),
        ({"workers": 0, "weight": 0}, None),
        ({"unhealthy": 1}, "1 worker sick"),
        ({"failed": 50}, "33% of its work failed"),
        ({"failed": 2, "processed": 1}, None),
        ({"failed": 4}, None),
        ({"waiting": 7, "oldest_s": 75.0}, "a job has taken 75 s, and 7 wait"),
        ({"waiting": 0, "oldest_s": 75.0}, None),
    ],
)
def test_a_version_is_told_by_its_worst_problem(different, expected):
    assert problem(row(**different)) == expected


def shown(*rows: StatusRow) -> str:
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(render(Status(url="nats://127.0.0.1:4222", rows=list(rows), dead={"fax": 195})))
    return captured.get()


def test_the_first_line_says_what_is_wrong_and_fits_80_columns():
    lines = shown(row(failed=50), row(version="v2", workers=0)).splitlines()
    assert "fax v1: 33% of its work failed, and 1 more"[:30] in lines[0]
    assert all(len(line) <= 80 for line in lines)
    assert "dead letters: fax 195 (see `headway dead ls`)" in lines[-1]


def test_the_first_line_says_that_nothing_is_wrong():
    assert shown(row()).splitlines()[0].endswith("all services are healthy")


def test_a_working_tree_is_marked_where_other_versions_are_images():
    lines = shown(row(tree=True), row(version="v2")).splitlines()
    assert any(line.startswith("fax     v1* ") for line in lines)
    assert any(line.startswith("* the working tree as it is now") for line in lines)
    alone = shown(row(tree=True))
    assert "*" not in alone
