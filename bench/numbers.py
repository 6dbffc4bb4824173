"""The arithmetic of a bench: medians over interleaved rounds, ratios, quantiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

OURS = "headway"


def medians(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each contender's rounds.

    Args:
        rounds: what each contender reached in each round.

    Raises:
        ValueError: if one has no round.
    """
    for name, values in rounds.items():
        if not values:
            raise ValueError(f"{name} has no round")
    return {name: median(values) for name, values in rounds.items()}


def ratios(rounds: Mapping[str, Sequence[float]], ours: str = OURS) -> dict[str, float]:
    """Return our result divided by each peer's: the median of the rounds' ratios.

    The n-th rounds of all contenders ran right after one another, so other load on the machine
    (a slow minute, a busy neighbour) divides out of their ratio, while it would stay in a ratio of medians.

    Raises:
        ValueError: if the contenders have not the same number of rounds, or none.
    """
    counts = {len(values) for values in rounds.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"every contender needs the same rounds, these are {sorted(counts)}")
    own = rounds[ours]
    return {
        name: median(mine / theirs for mine, theirs in zip(own, values, strict=True))
        for name, values in rounds.items()
        if name != ours
    }


def quantile(samples: Sequence[float], q: float) -> float:
    """Return the q-quantile (0 to 1) by nearest rank: always a measured value, never an interpolation.

    Raises:
        ValueError: without samples, or if q is not in 0..1.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0 <= q <= 1:
        raise ValueError(f"q={q} is not in 0..1")
    return sorted(samples)[max(0, math.ceil(q * len(samples)) - 1)]
