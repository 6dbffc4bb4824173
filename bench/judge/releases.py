"""A thousand random releases, three hundred of them bad, of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from numpy.random import Generator

from bench.judge.traffic import World, constant

WAYS: Final = ("errors", "operation", "tenant", "latency", "crash", "leak", "dead letters")
_OPERATIONS: Final = {"status": 0.4, "send": 0.3, "list": 0.15, "cancel": 0.1, "report": 0.05}
_TENANTS: Final = {"acme": 0.4, "globex": 0.25, "initech": 0.2, "umbrella": 0.1, "hooli": 0.05}
_RATES: Final = (0.0, 0.001, 0.01, 0.05, 0.15)


def releases(rng: Generator, count: int, bad: int) -> Iterator[tuple[str, World]]:
    """Return what is wrong with each release ("" for a good one), and its world."""
    for number in range(count):
        rate = float(rng.choice(_RATES))
        usual: dict[str, Any] = {
            "rps": float(rng.choice((20, 50, 200))),
            "good": constant(rate),
            "latency": float(rng.choice((0.002, 0.02, 0.2))),
            "operations": _OPERATIONS,
            "tenants": {},
        }
        if rng.random() < 0.5:
            usual |= {"tenants": _TENANTS, "operations": {}}
        yield ("", World(**usual, bad=constant(rate))) if number >= bad else _bad(rng, WAYS[number % 7], rate, usual)


def _bad(rng: Generator, way: str, rate: float, usual: dict[str, Any]) -> tuple[str, World]:
    made: dict[str, Any] = {**usual, "bad": constant(rate)}
    match way:
        case "errors":  # at least twice as many, and at least one in a hundred
            made["bad"] = constant(max(rate * float(rng.uniform(2, 5)), float(rng.uniform(0.01, 0.3))))
        case "operation":
            made |= {"operations": _OPERATIONS, "tenants": {}}
            made["broken"] = {str(rng.choice(list(_OPERATIONS))): float(rng.uniform(0.3, 1.0))}
        case "tenant":
            made |= {"tenants": _TENANTS, "operations": {}}
            made["broken"] = {str(rng.choice(list(_TENANTS))): float(rng.uniform(0.3, 1.0))}
        case "latency":
            made |= {"slower": float(rng.uniform(1.5, 4)), "latency": float(rng.choice((0.05, 0.2, 0.5)))}
        case "crash":
            made["crash"] = float(rng.uniform(20, 80))
        case "leak":
            made["leak"] = float(rng.uniform(1e6, 20e6))
        case _:
            made["dead"] = (0.0, float(rng.uniform(0.01, 0.2)))
    return way, World(**made)
