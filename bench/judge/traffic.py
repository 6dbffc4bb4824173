"""Simulated traffic of a release: the sums of both versions' heartbeats in each second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import Generator
from scipy.special import ndtr

from headway.bus.telemetry.histogram import BUCKETS
from headway.deployer.evidence import Count, Slice, Tally

Rate = Callable[[float], float]
"""Share of failures at a time, in seconds since the release began."""


def constant(share: float) -> Rate:
    """Return a rate that does not change."""
    return lambda _: share


NEVER: Final = constant(0.0)
ALWAYS: Final = constant(1.0)


def seasonal(share: float, swing: float = 0.8, period: float = 60.0) -> Rate:
    """Return a rate that swings around a share, once in a period."""
    return lambda t: share * (1 + swing * np.sin(2 * np.pi * t / period))


def outage(share: float, during: float, begin: float, end: float) -> Rate:
    """Return a rate that is different for a while."""
    return lambda t: during if begin <= t < end else share


@dataclass(frozen=True, slots=True)
class World:
    """The simulated conditions of a release.

    Attributes:
        rps: requests a second, both versions together.
        good: the baseline's share of failures.
        bad: the canary's.
        latency: median of the baseline's latency in seconds; 0 for none.
        slower: factor on the canary's latency.
        spread: deviation of the logarithm of latency.
        surge: factor on the rate of requests at a time.
        operations, tenants: shares of the traffic; none are told apart where there are fewer than two.
        broken: operations or tenants of which the canary fails this share.
        slow: operations whose latency the canary multiplies.
        dead: shares of requests that end as dead letters, baseline and canary.
        crash: seconds after which the canary's workers die; infinite if they do not.
        leak: bytes a second by which each of the canary's workers grows.
    """

    rps: float = 50.0
    good: Rate = NEVER
    bad: Rate = NEVER
    latency: float = 0.0
    slower: float = 1.0
    spread: float = 0.7
    surge: Rate = ALWAYS
    operations: Mapping[str, float] = field(default_factory=dict)
    tenants: Mapping[str, float] = field(default_factory=dict)
    broken: Mapping[str, float] = field(default_factory=dict)
    slow: Mapping[str, float] = field(default_factory=dict)
    dead: tuple[float, float] = (0.0, 0.0)
    crash: float = float("inf")
    leak: float = 0.0


_WORKER = 60e6
"""Resident bytes of a worker."""


def second(rng: Generator, world: World, at: float, weight: float) -> Slice:
    """Draw what happens in one second.

    Args:
        rng: source of random numbers.
        world: the simulated conditions.
        at: seconds since the release began.
        weight: the canary's share of the traffic, 0 to 1.
    """
    total = int(rng.poisson(world.rps * world.surge(at)))
    canary = int(rng.binomial(total, weight))
    return Slice(
        _side(rng, world, canary, world.bad(at), canary=True, at=at),
        _side(rng, world, total - canary, world.good(at), canary=False, at=at),
    )


def _side(rng: Generator, world: World, tries: int, rate: float, *, canary: bool, at: float) -> Count:
    errors = 0
    groups: list[dict[str, Tally]] = []
    for shares, timed in ((world.operations, True), (world.tenants, False)):
        if len(shares) < 2:
            groups.append({})
            continue
        tallies = {}
        for name, count in zip(shares, rng.multinomial(tries, list(shares.values())).tolist(), strict=True):
            own = world.broken.get(name, rate) if canary else rate
            failed = int(rng.binomial(count, own))
            factor = world.slow.get(name, 1.0) * world.slower if canary else 1.0
            times = _times(rng, count, world.latency * factor, world.spread) if timed and world.latency else ()
            tallies[name] = Tally(count, failed, times)
        groups.append(tallies)
        errors = max(errors, sum(one.errors for one in tallies.values()))
    operations, tenants = groups
    if not operations and not tenants:
        errors = int(rng.binomial(tries, rate))
    latency: dict[str, list[int]] = {}
    if operations and world.latency:
        latency["rpc"] = np.sum([one.latency for one in operations.values()], axis=0).tolist()
    elif world.latency:
        factor = world.slower if canary else 1.0
        latency["rpc"] = _times(rng, tries, world.latency * factor, world.spread)
    return Count(
        tries=tries,
        errors=errors,
        dead=int(rng.binomial(tries, world.dead[canary])) if world.dead[canary] else 0,
        latency=latency,
        memory=_WORKER + (world.leak * at if canary else 0.0),
        operations=operations,
        tenants=tenants,
    )


def _times(rng: Generator, tries: int, median: float, spread: float) -> list[int]:
    found: list[int] = rng.multinomial(tries, _shares(median, spread)).tolist()
    return found


@lru_cache(maxsize=256)
def _shares(median: float, spread: float) -> np.typing.NDArray[np.float64]:
    """Return the shares of log-normal latencies by bucket, as typical services have."""
    below = np.append(ndtr(np.log(np.array(BUCKETS) / median) / spread), 1.0)
    return np.maximum(np.diff(below, prepend=0.0), 0.0)
