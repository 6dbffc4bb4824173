"""Each bench runs from start to end and prints a sane object. How fast it is, is no matter for a test."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import goals
from bench.numbers import OURS

PEERS = {
    "jobs": {goals.RAW_JOBS, goals.FETCH_JOBS, goals.FASTSTREAM_JOBS},
    "rpc": {goals.RAW_RPC, goals.MICRO_RPC, goals.FASTSTREAM_RPC},
    "fairness": {goals.FAIRNESS},
    "memory": {goals.MEMORY},
}


@pytest.mark.parametrize("bench", PEERS)
def test_a_quick_run_measures_every_contender(bench: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", bench, "--quick", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
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
    if bench == "memory":
        assert 10 < found["values"][goals.MEMORY] < 200
    assert {goal["of"] for goal in found["goals"]} <= set(found["ratios"])
