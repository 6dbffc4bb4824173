"""Zones fail one at a time while everything is used; a checker reads afterwards whether every promise was kept.

HEADWAY_CHAOS_SECONDS=3600 has it go on for an hour, HEADWAY_CHAOS_SEED repeats what a run did to whom, in which order.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
import warnings
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.zones.checker import check
from tests.zones.history import operations
from tests.zones.network import Network
from tests.zones.place import own_disks
from tests.zones.plan import KINDS, ZONES, plan
from tests.zones.promises.jobs import repeated
from tests.zones.report import felt, table
from tests.zones.run import Ground, run
from tests.zones.unavailable import Unavailable

SECONDS = float(os.environ.get("HEADWAY_CHAOS_SECONDS", "0"))
"""Each kind of fault comes once at least, whatever this is; that takes about two minutes."""
LIMIT = 3 * SECONDS + 900
KEPT = Path(os.environ.get("HEADWAY_CHAOS_DIR", ".headway-chaos")).absolute()
RUNS = 5
"""Histories that are kept; the oldest one goes when another one comes."""


@pytest.fixture
def kept() -> Path:
    """A directory for the history of this run."""
    KEPT.mkdir(exist_ok=True)
    for old in sorted(KEPT.iterdir())[: 1 - RUNS]:
        shutil.rmtree(old)
    made = KEPT / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    made.mkdir()
    return made


@pytest.fixture
async def ground(tmp_path, missing):
    """As much of it as this machine allows. In CI all of it, unless HEADWAY_CHAOS_WITHOUT names what is left out."""

    def without(kind: str, why: Unavailable) -> None:
        if os.environ.get("CI") == "true" and kind not in os.environ.get("HEADWAY_CHAOS_WITHOUT", "").split():
            missing(f"{kind}: {why}")
        warnings.warn(f"THE ZONES ARE TESTED WITHOUT FAULTS OF THE {kind.upper()}: {why}", stacklevel=1)

    async with AsyncExitStack() as stack:
        network, disks = None, True
        stores = {zone: tmp_path / zone for zone in ZONES}
        try:
            network = stack.enter_context(Network.made(ZONES))
        except Unavailable as why:
            without("network", why)
        try:
            stores = await stack.enter_async_context(own_disks(tmp_path))
        except Unavailable as why:
            without("disk", why)
            disks = False
        yield Ground(network, stores, disks)


@pytest.mark.timeout(LIMIT)
async def test_one_zone_at_a_time_fails_and_every_promise_is_kept(ground, kept, tmp_path, capsys):
    seed = int(os.environ.get("HEADWAY_CHAOS_SEED") or secrets.randbits(32))
    kinds = [kind for kind in KINDS if ground.allows(kind)]
    with capsys.disabled():
        print(f"\nHEADWAY_CHAOS_SEED={seed} repeats it; the history is kept in {kept}")
    history = await run(plan(seed, SECONDS, kinds), seed, ground, tmp_path / "work", kept)
    done = Counter(one.op for one in operations(history, "call", "submit", "put", "route") if one.ok)
    faults = felt(history)
    with capsys.disabled():
        print(f"{table(faults)}\ndone: {dict(done)}, {repeated(history)} jobs again")
    findings = check(history)
    assert not findings, f"{len(findings)} in {kept}:\n" + "\n".join(map(str, findings[:20]))
    assert {fault.kind for fault in faults} == set(kinds)
    assert min(done.values()) > 100, "too little was done: it shows nothing"
