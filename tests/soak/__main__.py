"""`python -m tests.soak`: run it, print what it showed, exit with 1 if something was lost or grows."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.run import run

KEPT, RUNS = Path(".headway-chaos"), 3


def main() -> int:
    """Run it as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long (1800)")
    parser.add_argument("--seed", type=int, default=None, help="what the load draws from; one that is told repeats it")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    for old in sorted(KEPT.glob("soak-*"))[: 1 - RUNS]:
        shutil.rmtree(old)
    kept = KEPT / time.strftime("soak-%Y%m%d-%H%M%S", time.gmtime())
    kept.mkdir(parents=True)
    print(f"--seed {seed}; history, samples and logs are kept in {kept}", flush=True)
    with tempfile.TemporaryDirectory(prefix="headway-soak-", ignore_cleanup_errors=True) as work:
        result = asyncio.run(run(options.seconds, seed, Path(work), kept.absolute()))
    print(result)
    for problem in result.problems:
        print(f"FAILED: {problem}")
    return bool(result.problems)


if __name__ == "__main__":
    sys.exit(main())
