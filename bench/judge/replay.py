"""One simulated release from its first step to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from numpy.random import Generator

from bench.judge.peers import Headway, Peer
from bench.judge.traffic import World, second
from headway.control.records import Criteria
from headway.deployer.analysis.analysis import Analysis

End = Literal["stopped", "released", "held"]
STEPS: Final = (5, 25, 50, 100)
HOLDBACK: Final = 5


class Ended(NamedTuple):
    """How a release ended.

    Attributes:
        how: stopped by the judge, released to all, or held for a person, since nothing was proven in time.
        seconds: its duration.
        canary: requests of the canary by then.
        harm: additional failures for users, compared with the baseline alone.
    """

    how: End
    seconds: float
    canary: int
    harm: float


def release(
    rng: Generator, world: World, steps: Sequence[int] = STEPS, bake: float = 30.0, *, patience: float | None = None
) -> Ended:
    """Release a version step by step, like the deployer.

    Args:
        rng: source of random numbers.
        world: the simulated conditions.
        steps: shares of the traffic in percent.
        bake: minimum seconds of each step.
        patience: seconds after which a step is passed, proven or not; None holds it after the usual patience.
    """
    weights = shares(steps)
    judge = Headway(weights, bake)
    leaks = judge.strain
    return _released(rng, world, weights, judge, patience, lambda: leaks.leaking() is not None)


def peer_release(
    rng: Generator, world: World, peer: Callable[[Sequence[float], float], Peer], steps: Sequence[int] = STEPS
) -> Ended:
    """Release a version in the same steps, judged by another judge."""
    weights = shares(steps)
    return _released(rng, world, weights, peer(weights, 30.0), None, lambda: False)


def to_decision(rng: Generator, world: World, weight: float, most: int) -> int | None:
    """Return how many canary requests it takes until the release is stopped; None if more than `most`."""
    analysis = Analysis(Criteria(), (weight, *shares(STEPS)[1:]))
    canary, at = 0, 0
    while True:
        part = second(rng, world, at, weight)
        at += 1
        canary += part.canary.tries
        if canary > most:
            return None
        analysis.add(part)
        if analysis.decide().outcome == "stop":
            return canary


def shares(steps: Sequence[int]) -> tuple[float, ...]:
    """Return the canary's share of the traffic at each step, 0 to 1.

    At the last step some traffic is held back.
    """
    return (*(step / 100 for step in steps[:-1]), (steps[-1] - HOLDBACK) / 100)


def _released(
    rng: Generator,
    world: World,
    weights: Sequence[float],
    judge: Peer,
    patience: float | None,
    exhausted: Callable[[], bool],
) -> Ended:
    at, canary, harm = 0, 0, 0.0
    for step, weight in enumerate(weights):
        judge.begin(step, weight)
        since = at
        while True:
            part = second(rng, world, at, weight)
            canary += part.canary.tries
            harm += part.canary.errors - part.canary.tries * world.good(at)
            at += 1
            said = judge.second(part)
            if said == "stop" or at > world.crash or exhausted():
                return Ended("stopped", at, canary, harm)
            if said == "pass" and patience is None:
                break
            if patience is not None and at - since >= patience:
                break
            if at - since >= Criteria().patience:
                return Ended("held", at, canary, harm)
    return Ended("released", at, canary, harm)
