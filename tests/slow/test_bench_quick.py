"""Each bench runs from start to end and prints a sane object. How fast it is, is no matter for a test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from bench import clients, durability, goals
from bench.numbers import OURS

PEERS = {
    "jobs": {goals.RAW_JOBS, goals.FETCH_JOBS, goals.FASTSTREAM_JOBS},
    "rpc": {goals.RAW_RPC, goals.MICRO_RPC, goals.FASTSTREAM_RPC},
    "fairness": set(),
    "memory": {goals.MEMORY},
    "scale": set(),
    "reconcile": set(),
    "durability": set(),
    "clients": set(),
    "shift": set(),
    "sync": {goals.STARLETTE} | ({goals.PLAIN_PAINT} if shutil.which("chromium") else set()),
    "outage": set(),
}


@pytest.mark.parametrize("bench", PEERS)
def test_a_quick_run_measures_every_contender(bench: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", bench, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["bench"] == bench
    assert set(found["ratios"]) == PEERS[bench]
    assert all(ratio > 0 for ratio in found["ratios"].values())
    if bench in {"jobs", "rpc"}:
        assert set(found["values"]) == PEERS[bench] | {OURS}
        assert all(value > 100 for value in found["values"].values())
    if bench == "fairness":
        assert {goal["of"] for goal in found["goals"]} == set(found["values"])
        assert all(found[name] >= 0 for name in found["values"])
        assert found["worst_tenant_ratio"] > 0
    if bench == "memory":
        assert 10 < found["values"][goals.MEMORY] < 200
    if bench == "scale":
        assert 0 < found["first_worker_s"] < found["drained_s"]
        peers = found["traces"]["recorded"]
        assert {"headway", "keda-40", "knative", "aws"} <= set(peers)
        assert all(peer["worker_seconds"] > 0 and peer["slo_misses"] >= 0 for peer in peers.values())
    if bench == "reconcile":
        assert set(found["details"]) == {"2 services", "4 services", "8 services"}
        assert all(size["quiet_ms"] > 0 and size["busy_ms"] > 0 for size in found["details"].values())
    if bench == "outage":
        assert found["values"][goals.LOST_JOBS] == 0
        assert found["details"]["jobs_accepted"] > 100
        assert {"a worker", "scaler", "deployer", "web", "the server, alone"} <= set(found["values"])
    if bench == "durability":
        assert set(found["values"]) == set(durability.SETTINGS)
        assert all(value > 10 for value in found["values"].values())
    if bench == "clients":
        assert set(found["values"]) == {*clients.CALLS, *clients.JOBS}
        assert all(value > 10 for value in found["values"].values())
    if bench == "shift":
        assert (found["failed_calls"], found["lost_jobs"], found["jobs_done_twice"]) == (0, 0, 0)
        assert found["fleet_replace_s"] > 0
    if bench == "sync":
        assert 0 < found["p50_ms"] <= found["p99_ms"]
        assert 0 < found["details"]["bytes_per_change_compressed"] < found["details"]["bytes_per_change"]
        if shutil.which("chromium"):
            assert 0 < found["catch_up_ratio"] < 1
            assert found["first_paint_ms"] > 0
        else:
            return
    assert {goal["of"] for goal in found["goals"]} <= set(found["ratios"]) | set(found["values"])
