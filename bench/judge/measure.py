"""Replays releases: false alarms, detection and its delay, and misses, compared with other judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, Final

import numpy as np

from bench import goals
from bench.judge.peers import PEERS
from bench.judge.releases import releases
from bench.judge.replay import STEPS, Ended, peer_release, release, to_decision
from bench.judge.traffic import World, constant, outage, seasonal
from bench.numbers import quantile
from bench.report import Report

EQUAL: Final = {
    **{f"{100 * rate:g}% fail": World(good=constant(rate), bad=constant(rate)) for rate in (0.0, 0.01, 0.1, 0.3)},
    "10% with a season": World(good=seasonal(0.1), bad=seasonal(0.1), surge=seasonal(1.0, 0.5, 90)),
    "an outage while the weight grows": World(good=outage(0.01, 0.6, 50, 100), bad=outage(0.01, 0.6, 50, 100)),
    "1% fail, with latency": World(good=constant(0.01), bad=constant(0.01), latency=0.05),
}
DOUBLED: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_WEIGHTS: Final = (0.05, 0.25, 0.5)
_PEER_WORLDS: Final = {
    "equal": World(good=constant(0.02), bad=constant(0.02)),
    "15 -> 34%": World(good=constant(0.15), bad=constant(0.34)),
    "2 -> 7%": World(good=constant(0.02), bad=constant(0.07)),
    "5 -> 10%": World(good=constant(0.05), bad=constant(0.10)),
    "0.2 -> 0.8%": World(good=constant(0.002), bad=constant(0.008)),
}
_STEP_TIME: Final = 45.0
"""Length of a step in seconds where false alarms are counted; it passes then, whatever was shown."""


async def measure(*, quick: bool = False, seed: int = 20261129) -> Report:
    """Replay all of it.

    Args:
        quick: few replays: checks that the bench runs; the results mean nothing.
        seed: seed of the random numbers.
    """
    scale = 0.02 if quick else 1.0

    def many(count: int) -> int:
        return max(4, round(count * scale))

    alarms = {name: _false_aborts(world, many(300), seed) for name, world in EQUAL.items()}
    doubled = {f"{100 * rate:g}%": _let_through(rate, many(150), seed) for rate in DOUBLED}
    found = {
        "15_34_w5": _found(0.15, 0.34, 0.05, many(2000), seed),
        "15_34_w50": _found(0.15, 0.34, 0.5, many(2000), seed),
    }
    power = {f"{weight:.0%}": _power(World(good=constant(0.02), bad=constant(0.07)), weight, many(1000), seed)
             for weight in _WEIGHTS}  # fmt: skip
    slow = {f"{weight:.0%}": _power(World(latency=0.1, slower=1.5), weight, many(300), seed) for weight in _WEIGHTS}
    good = _good(many(100), seed)
    random = _random(many(1000), many(300), seed)
    peers = {name: _peer(make, many(40), seed) for name, make in PEERS.items()}
    values = {
        goals.FALSE_ABORTS: max(alarms.values()),
        goals.LET_THROUGH: max(doubled.values()),
        goals.MEDIAN_5: found["15_34_w5"]["median"],
        goals.P99_5: found["15_34_w5"]["p99"],
        goals.MEDIAN_50: found["15_34_w50"]["median"],
        goals.P99_50: found["15_34_w50"]["p99"],
        goals.POWER: min(power.values()),
        goals.SLOW: min(slow.values()),
        goals.THROUGH: good["median_s"],
        goals.BAD_THROUGH: random["bad_reached_100"],
        goals.GOOD_STOPPED: random["good_stopped"],
    }
    return Report(
        bench="judge",
        title="simulated releases judged second by second, 50 requests a second unless said otherwise",
        unit="",
        values=values,
        rounds={name: [value] for name, value in values.items()},
        ratios={},
        verdicts=goals.judge(goals.JUDGE, values),
        details={
            "false_aborts": alarms,
            "let_through": doubled,
            "power_2_7": power,
            "power_p95_1_5": slow,
            "good": good,
            "random_releases": random,
        },
        headline={
            "false_abort_share": max(alarms.values()),
            "let_through_doubled": max(doubled.values()),
            "found": {**found, "2_7_worst_power": min(power.values())},
            "bad_reached_100": random["bad_reached_100"],
            "good_stopped": random["good_stopped"],
            "peers": peers,
        },
        below=_table(peers),
    )


def _false_aborts(world: World, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    return _share(release(rng, world, patience=_STEP_TIME).how == "stopped" for _ in range(runs))


def _let_through(rate: float, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    world = World(good=constant(rate), bad=constant(2 * rate))
    return _share(release(rng, world).how == "released" for _ in range(runs))


def _found(good: float, bad: float, weight: float, runs: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    world = World(good=constant(good), bad=constant(bad))
    took = [to_decision(rng, world, weight, 1_000) or math.inf for _ in range(runs)]
    return {"median": median(took), "p99": quantile(took, 0.99)}


def _power(world: World, weight: float, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    return _share(to_decision(rng, world, weight, 1_000) is not None for _ in range(runs))


def _good(runs: int, seed: int) -> dict[str, Any]:
    """Measure how long good releases take through 20, 50 and 100%, by usual failure rate, and how many are stopped."""
    rng = np.random.default_rng(seed)
    told: dict[str, Any] = {}
    for rate in (0.0, 0.001, 0.01, 0.1, 0.3):
        count = runs if not rate else max(4, runs // 4)
        world = World(good=constant(rate), bad=constant(rate), latency=0.02)
        ends = [release(rng, world, (20, 50, 100), 5.0) for _ in range(count)]
        took = sorted(end.seconds for end in ends if end.how == "released")
        told[f"{100 * rate:g}%"] = {
            "median_s": median(took) if took else None,
            "p90_s": quantile(took, 0.9) if took else None,
            "stopped": _share(end.how == "stopped" for end in ends),
            "held": _share(end.how == "held" for end in ends),
        }
    return {"median_s": told["0%"]["median_s"], "p90_s": told["0%"]["p90_s"], "by_rate": told}


def _random(count: int, bad: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    ends: Counter[tuple[str, str]] = Counter()
    for way, world in releases(rng, count, bad):
        ends[way or "good", release(rng, world).how] += 1
    return {
        "releases": count,
        "bad": bad,
        "bad_reached_100": sum(n for (way, how), n in ends.items() if way != "good" and how == "released"),
        "good_stopped": ends["good", "stopped"],
        "ends": {f"{way}: {how}": n for (way, how), n in sorted(ends.items())},
    }


def _peer(make: Callable[[Sequence[float], float], Any], runs: int, seed: int) -> dict[str, Any]:
    found = {}
    for name, world in _PEER_WORLDS.items():
        rng = np.random.default_rng(seed)
        ends = [peer_release(rng, world, make, STEPS) for _ in range(runs)]
        stopped = [end for end in ends if end.how == "stopped"]
        found[name] = {
            "stopped": len(stopped) / runs,
            "released": _share(end.how == "released" for end in ends),
            "median": median(end.canary for end in stopped) if stopped else None,
            "p99": quantile([end.canary for end in stopped], 0.99) if stopped else None,
            "harm": round(_mean(ends), 1),
        }
    return found


def _mean(ends: Sequence[Ended]) -> float:
    return sum(end.harm for end in ends) / len(ends)


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found)


def _table(peers: dict[str, Any]) -> str:
    """Compare all judges on the same releases: stopped, canary requests until then, users' failures."""
    width = max(map(len, peers))
    lines = [f"{'stopped, canary requests to it (median), failures caused':{width}}"]
    for world in _PEER_WORLDS:
        lines.append(f"\n{world}")
        for name, found in peers.items():
            one = found[world]
            took = "-" if one["median"] is None else f"{one['median']:,.0f}"
            lines.append(f"  {name:{width}}  {one['stopped']:6.1%}  {took:>7}  {one['harm']:>8,.1f}")
    return "\n".join(lines)
