"""Arrival traces: jobs per second, generated or recorded.

Generated traces are seeded, so every run of a simulation is the same. `recorded.csv` was recorded on this
project's own bus: for five minutes, 25 clients (in bursts and pauses of heavy-tailed length) and three mailing
campaigns submitted real jobs to a private server, at double speed. Each line counts the jobs that the server
acknowledged in that second.
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headway.scaler.errors import BadTrace

RECORDED: Final = Path(__file__).with_name("recorded.csv")
LONGEST: Final = 86_400
"""Seconds that a trace may last."""
_UNIT: Final = 4.0
"""Jobs per second that one worker of the default `model.Workload` finishes; generated traces need 3 to 60 workers."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The number of jobs that arrive in each second, from 0 on."""

    name: str
    arrivals: tuple[int, ...]


def flash_crowd(seed: int = 1) -> Trace:
    """Return 20 minutes with a spike: 18 times the load within 4 s, for 3 minutes, then slowly back."""

    def rate(second: int) -> float:
        if second < 300:
            return 3
        if second < 304:
            return 3 + 51 * (second - 300) / 4
        if second < 480:
            return 54
        return 3 + 51 * math.exp(-(second - 480) / 60)

    return _noisy("flash-crowd", rate, 1200, seed)


def diurnal(seed: int = 2) -> Trace:
    """Return a day compressed into half an hour: night, a morning peak, and a lower afternoon peak."""

    def rate(second: int) -> float:
        day = second / 1800
        return 4 + 46 * math.exp(-(((day - 0.42) / 0.09) ** 2)) + 36 * math.exp(-(((day - 0.68) / 0.11) ** 2))

    return _noisy("diurnal", rate, 1800, seed)


def sawtooth(seed: int = 3) -> Trace:
    """Return five ramps of four minutes, from 3 to 60 workers' load, each of which ends abruptly."""
    return _noisy("sawtooth", lambda second: 3 + 57 * (second % 240) / 240, 1200, seed)


def recorded() -> Trace:
    """Return the recorded trace that comes with the package (see above)."""
    return Trace("recorded", read(RECORDED).arrivals)


NAMED: Final[dict[str, Callable[[], Trace]]] = {
    "flash-crowd": flash_crowd,
    "diurnal": diurnal,
    "sawtooth": sawtooth,
    "recorded": recorded,
}


def load(name: str) -> Trace:
    """Return a trace by its name, or read it from a file.

    Raises:
        BadTrace: if it is neither.
    """
    return NAMED[name]() if name in NAMED else read(Path(name))


def read(path: Path) -> Trace:
    """Read a recorded trace: CSV `second,arrivals`, or JSON lines with these fields. Seconds left out had no arrivals.

    Raises:
        BadTrace: with the line that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        named = ", ".join(NAMED)
        raise BadTrace(f"cannot read {path}: {error}", remedy=f"give a file, or one of {named}") from None
    counts: dict[int, int] = {}
    for number, second, arrivals in _rows(path, lines):
        if not 0 <= second < LONGEST or arrivals < 0:
            raise BadTrace(f"{path}, line {number}: second {second} with {arrivals} arrivals is out of range")
        counts[second] = counts.get(second, 0) + arrivals
    if not counts:
        raise BadTrace(f"{path} has no arrivals")
    return Trace(path.stem, tuple(counts.get(second, 0) for second in range(max(counts) + 1)))


def _rows(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    first = next((line for line in lines if line.strip()), "")
    return _json_rows(path, lines) if first.lstrip().startswith("{") else _csv_rows(path, lines)


def _csv_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        row = [field.strip() for field in next(csv.reader([line]))]
        if number == 1 and row == ["second", "arrivals"]:
            continue
        try:
            second, arrivals = row
            yield number, _whole(second), _whole(arrivals)
        except ValueError:
            raise BadTrace(f"{path}, line {number}: {line!r} is not `second,arrivals`") from None


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield number, _whole(row["second"]), _whole(row["arrivals"])
        except (ValueError, KeyError, TypeError):
            raise BadTrace(f'{path}, line {number}: {line!r} is not {{"second": ..., "arrivals": ...}}') from None


def _whole(value: str | float) -> int:
    number = float(value)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(value)
    return int(number)


def _noisy(name: str, workers: Callable[[int], float], seconds: int, seed: int) -> Trace:
    """Return Poisson arrivals around a load that is given in workers."""
    rng = random.Random(seed)
    return Trace(name, tuple(_poisson(rng, workers(second) * _UNIT) for second in range(seconds)))


def _poisson(rng: random.Random, mean: float) -> int:
    """Draw a Poisson number; the sum of numbers with small means, for which Knuth's product does not underflow."""
    total = 0
    while mean > 0:
        part = min(mean, 30.0)
        mean -= part
        bound, product = math.exp(-part), rng.random()
        while product > bound:
            total += 1
            product *= rng.random()
    return total
