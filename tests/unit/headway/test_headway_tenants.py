"""What `headway tenants` shows: added up over workers and services, in 80 columns."""

import io

from rich.console import Console

from headway.bus.wire.beat import Aside, Beat
from headway.commands.tenants import render
from headway.control.tenants import busiest, loads
from headway.tenants import Backlog, combine

USUAL = {
    "service": "fax",
    "version": "v1",
    "host": "h",
    "pid": 1,
    "started": 0.0,
    "at": 9.0,
    "state": "serving",
    "rpc_inflight": 0,
    "in_hand": 0,
    "oldest_s": 0.0,
    "processed": 0,
    "failed": 0,
    "rejected": 0,
    "retried": 0,
    "dead": 0,
    "shed": 0,
    "latency": {},
    "cpu_s": 0.0,
    "rss_bytes": 0,
    "loop_lag_s": 0.0,
    "healthy": True,
}
LOUD = Aside(seconds=12.3, lane=9, why="60000 jobs in lane 3, another tenant of the lane has 0")


def beat(worker: str, **more) -> Beat:
    return Beat(**{**USUAL, "worker": worker, **more})


BEATS = [
    beat("a", busy={"loud": 40.0, "quiet": 1.0}, hands={"loud": 6}, sidelined={"loud": LOUD}),
    beat("b", busy={"loud": 30.0, "": 9.0}, hands={"loud": 5, "quiet": 1}),
    beat("c", service="calls", sidelined={"loud": Aside(seconds=2.0, lane=8, why="why")}),
    beat("d", state="stopped", busy={"loud": 500.0}),
]


def test_heartbeats_are_added_up_by_tenant():
    found = loads(BEATS)
    assert (found["loud"].busy, found["loud"].in_hand) == (70.0, 11)
    assert [(one.service, one.seconds) for one in found["loud"].aside] == [("calls", 2.0), ("fax", 12.3)]
    assert (found["quiet"].busy, found[""].busy) == (1.0, 9.0)


def test_metrics_name_the_busiest_tenants_and_add_up_the_others():
    shown = busiest(loads(BEATS), most=1)
    assert shown.keys() == {"loud", ""}
    assert (shown[""].busy, shown[""].in_hand) == (10.0, 1)


def test_the_tenants_with_the_most_jobs_come_first_and_shares_add_up():
    found = combine("nats://x", BEATS, Backlog({"quiet": 2, "loud": 59_000, "new": 1}, {"loud": 8.0}, {"quiet": 3.0}))
    assert [row.tenant for row in found.rows] == ["loud", "quiet", "new", ""]
    loud = found.rows[0]
    assert (loud.queued, loud.oldest_s, loud.share, len(loud.sidelined)) == (59_000, 8.0, 0.875, 2)
    assert [row.weight for row in found.rows] == [1.0, 3.0, 1.0, 1.0]
    assert abs(sum(row.share for row in found.rows) - 1) < 1e-9
    assert combine("nats://x", [], Backlog({"new": 1}, {}, {})).rows[0].share is None


def test_the_table_fits_80_columns_and_says_why_a_tenant_is_sidelined():
    names = {f"a-tenant-with-a-name-that-is-long-{n}": 1_000_000 + n for n in range(30)}
    found = combine(
        "nats://127.0.0.1:4222", BEATS, Backlog({"loud": 2_000_000, **names}, {"loud": 12_345.6}, {"loud": 12.5})
    )
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(render(found, 20))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("loud in fax v1: 60000 jobs in lane 3" in line for line in lines)
    assert any("for 12s" in line for line in lines)
    assert any("13 more" in line for line in lines)
