"""`python -m bench jobs|rpc|fairness|memory [--json] [--check] [--quick]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

import orjson
import uvloop

from bench import fairness, memory
from bench.jobs import measure as jobs
from bench.report import Report, as_object, as_table
from bench.rpc import measure as rpc

OK, FAILED, MISSED = 0, 2, 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `run` of the result starts the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object on the last line, no table")
    common.add_argument("--check", action="store_true", help=f"exit {MISSED} if a goal is missed")
    common.add_argument("--quick", action="store_true", help="small numbers: shows that it works, proves nothing")
    common.add_argument("--rounds", type=_positive, help="how often each contender's turn comes")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="jobs|rpc|fairness|memory")

    of_jobs = benches.add_parser("jobs", parents=[common], help="drain a work queue, beside nats-py and FastStream")
    of_jobs.add_argument("--messages", type=_positive, help="jobs per round")
    of_jobs.set_defaults(
        run=lambda a: jobs.measure(a.messages or (4_000 if a.quick else 50_000), a.rounds or (1 if a.quick else 5))
    )
    of_rpc = benches.add_parser("rpc", parents=[common], help="call and answer, beside nats-py, micro, FastStream")
    of_rpc.add_argument("--inflight", type=_positive, default=64, help="requests under way (64)")
    of_rpc.add_argument(
        "--bare-peers", action="store_true", help="send the deadline header to ours alone, not the same message to all"
    )
    of_rpc.set_defaults(
        run=lambda a: rpc.measure(
            0.1 if a.quick else 0.5, a.rounds or (2 if a.quick else 13), a.inflight, bare_peers=a.bare_peers
        )
    )
    of_fairness = benches.add_parser("fairness", parents=[common], help="one tenant's latency in another one's flood")
    of_fairness.add_argument("--flood", type=_positive, help="jobs of the flood (60000)")
    of_fairness.add_argument("--work-ms", type=float, default=5.0, help="how long each job takes (5)")
    of_fairness.set_defaults(
        run=lambda a: fairness.measure(
            a.flood or (4_000 if a.quick else 60_000),
            a.rounds or (1 if a.quick else 5),
            a.work_ms / 1e3,
            0.5 if a.quick else 2.0,
        )
    )
    of_memory = benches.add_parser("memory", parents=[common], help="resident memory of an idle worker")
    of_memory.set_defaults(run=lambda a: memory.measure(a.rounds or (1 if a.quick else 3), 0.5 if a.quick else 3.0))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one bench and print what it found.

    Returns:
        0, 1 if `--check` was given and a goal is missed, 2 if the bench itself failed.
    """
    asked = parse(arguments)
    run: Callable[[argparse.Namespace], Awaitable[Report]] = asked.run
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_awaited(run(asked)))
    except (RuntimeError, OSError) as error:
        print(f"the bench failed: {error}", file=sys.stderr)
        return FAILED
    print(orjson.dumps(as_object(report)).decode() if asked.json else as_table(report))
    return MISSED if asked.check and not report.met else OK


async def _awaited(report: Awaitable[Report]) -> Report:
    return await report


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
