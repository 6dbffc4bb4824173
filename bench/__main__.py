"""`python -m bench NAME [--json] [--check] [--quick]`; `--help` lists the benches."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import uvloop

from bench.report import Report, as_object, as_table

OK, FAILED, MISSED = 0, 2, 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; the result's `run` starts the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object on the last line, no table")
    common.add_argument("--check", action="store_true", help=f"exit {MISSED} if a goal is missed")
    common.add_argument(
        "--quick", action="store_true", help="small numbers: checks that the bench runs; the results mean nothing"
    )
    common.add_argument("--rounds", type=_positive, help="turns of each contender")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="NAME")

    of_jobs = benches.add_parser(
        "jobs", parents=[common], help="drain a work queue, compared with nats-py and FastStream"
    )
    of_jobs.add_argument("--messages", type=_positive, help="jobs per round")
    of_jobs.set_defaults(
        run=lambda a: _bench("jobs.measure").measure(
            a.messages or (4_000 if a.quick else 50_000), a.rounds or (1 if a.quick else 5)
        )
    )
    of_rpc = benches.add_parser(
        "rpc", parents=[common], help="request and reply, compared with nats-py, micro, FastStream"
    )
    of_rpc.add_argument("--inflight", type=_positive, default=64, help="requests in flight (64)")
    of_rpc.add_argument(
        "--bare-peers", action="store_true", help="send the deadline header to Headway only, not to every contender"
    )
    of_rpc.set_defaults(
        run=lambda a: _bench("rpc.measure").measure(
            0.1 if a.quick else 0.5, a.rounds or (2 if a.quick else 13), a.inflight, bare_peers=a.bare_peers
        )
    )
    of_fairness = benches.add_parser(
        "fairness", parents=[common], help="what floods of some tenants cost the others, and shares of time"
    )
    of_fairness.add_argument("--tenants", type=_positive, help="quiet tenants (40)")
    of_fairness.add_argument("--flooders", type=_positive, help="flooding tenants (3)")
    of_fairness.add_argument("--flood", type=_positive, help="jobs of each flood (8000)")
    of_fairness.add_argument("--work-ms", type=float, default=5.0, help="how long each job takes (5)")
    of_fairness.set_defaults(run=lambda a: _bench("fairness").measure(_fairness_size(a), a.work_ms / 1e3))
    of_memory = benches.add_parser("memory", parents=[common], help="resident memory of an idle worker")
    of_memory.set_defaults(
        run=lambda a: _bench("memory").measure(a.rounds or (1 if a.quick else 3), 0.5 if a.quick else 3.0)
    )
    of_scale = benches.add_parser(
        "scale", parents=[common], help="a burst, and traces compared with KEDA, Knative and AWS"
    )
    of_scale.add_argument("--jobs", type=_positive, help="jobs of the burst (800)")
    of_scale.set_defaults(
        run=lambda a: _bench("scale.measure").measure(
            a.jobs or (200 if a.quick else 800),
            a.rounds or (1 if a.quick else 3),
            ("recorded",) if a.quick else ("flash-crowd", "diurnal", "sawtooth", "recorded"),
        )
    )
    of_reconcile = benches.add_parser("reconcile", parents=[common], help="a round of the scaler over many services")
    of_reconcile.add_argument("--services", type=_positive, help="largest number of services (200)")
    of_reconcile.set_defaults(
        run=lambda a: _bench("reconcile").measure(
            _sizes(a.services or (8 if a.quick else 200)), a.rounds or (5 if a.quick else 30)
        )
    )
    of_durability = benches.add_parser("durability", parents=[common], help="cost of durable acknowledgements")
    of_durability.add_argument("--inflight", type=_positive, default=64, help="publishes in flight (64)")
    of_durability.set_defaults(
        run=lambda a: _bench("durability").measure(
            100 if a.quick else 2_000, 10 if a.quick else 200, a.inflight, a.rounds or (1 if a.quick else 5)
        )
    )
    of_clients = benches.add_parser("clients", parents=[common], help="cost of the clients' separate account")
    of_clients.add_argument("--inflight", type=_positive, default=64, help="calls and jobs in flight (64)")
    of_clients.set_defaults(
        run=lambda a: _bench("clients").measure(
            200 if a.quick else 10_000, a.inflight, a.rounds or (1 if a.quick else 9)
        )
    )
    of_sync = benches.add_parser("sync", parents=[common], help="changes delivered to a thousand browsers")
    of_sync.add_argument("--clients", type=_positive, help="websockets (1000)")
    of_sync.set_defaults(
        run=lambda a: _bench("sync.measure").measure(
            a.clients or (40 if a.quick else 1_000),
            1.0 if a.quick else 10.0,
            100 if a.quick else 500,
            a.rounds or (1 if a.quick else 5),
            500 if a.quick else 10_000,
        )
    )
    of_shift = benches.add_parser(
        "shift", parents=[common], help="effect of releases and rollbacks on callers and jobs"
    )
    of_shift.add_argument("--shifts", type=_positive, help="weight changes (100)")
    of_shift.add_argument("--cycles", type=_positive, help="releases that are rolled back (20)")
    of_shift.set_defaults(
        run=lambda a: _bench("shift.measure").measure(
            a.shifts or (3 if a.quick else 100), a.cycles or (1 if a.quick else 20), 3 if a.quick else 20
        )
    )
    of_outage = benches.add_parser("outage", parents=[common], help="effect of killed processes on callers")
    of_outage.set_defaults(
        run=lambda a: _bench("outage.measure").measure(
            a.rounds or (1 if a.quick else 3), 0.3 if a.quick else 2.0, cluster=not a.quick
        )
    )
    of_judge = benches.add_parser(
        "judge", parents=[common], help="replayed releases: false alarms and misses, compared with other judges"
    )
    of_judge.set_defaults(run=lambda a: _bench("judge.measure").measure(quick=a.quick))
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


def _bench(name: str) -> Any:
    """Import a bench's module only when it runs: its peers take seconds to import."""
    return importlib.import_module(f"bench.{name}")


async def _awaited(report: Awaitable[Report]) -> Report:
    return await report


def _fairness_size(a: argparse.Namespace) -> Any:
    bench = _bench("fairness")
    asked = {"tenants": a.tenants, "flooders": a.flooders, "flood": a.flood, "rounds": a.rounds}
    return replace(bench.QUICK if a.quick else bench.USUAL, **{name: n for name, n in asked.items() if n})


def _sizes(most: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, most // 4), max(1, most // 2), most}))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
