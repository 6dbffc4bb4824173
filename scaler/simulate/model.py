"""Simulates one service in discrete time: a queue, workers, and a contender that decides how many there are.

Jobs wait first in, first out. A worker takes as many as it has slots, each for the same time. It serves some time
after its start; when it drains it takes no new jobs and ends once it is idle. Workers that do not serve yet are
stopped first, then those with the fewest jobs, then the youngest. Every contender gets the same jobs, workers and
delays.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

from headway.scaler.simulate.traces import Trace

STEP: Final = 0.1
"""Seconds of one step."""
_LONGEST_TAIL: Final = 3_600.0
"""Seconds after the last arrival until unfinished jobs count as missed."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The simulated service, beside the trace.

    Attributes:
        slots: jobs that one worker has in hand at once.
        service_s: seconds that one job takes.
        work_cpu_s: CPU seconds of them.
        start_s: seconds until a new worker serves.
        within: deadline of a job in seconds after its arrival; later is a miss.
        minimum, maximum: workers.
        seed: of the moments within a second at which jobs arrive.
    """

    slots: int = 4
    service_s: float = 1.0
    work_cpu_s: float = 0.02
    start_s: float = 0.15
    within: float = 10.0
    minimum: int = 1
    maximum: int = 80
    seed: int = 11

    @property
    def rate(self) -> float:
        """Return the jobs per second that one worker finishes."""
        return self.slots / self.service_s

    @property
    def service_steps(self) -> int:
        """Return `service_s` in steps."""
        return max(1, _steps(self.service_s))

    @property
    def within_steps(self) -> int:
        """Return `within` in steps."""
        return _steps(self.within)


@dataclass(frozen=True, slots=True)
class FleetView:
    """What a contender sees of the service at one moment. Totals count from the start.

    Attributes:
        at: seconds.
        desired: workers, as the contender last decided.
        starting, serving, draining: workers.
        waiting: jobs that no worker has taken yet.
        in_hand: jobs being worked on.
        oldest_s: age of the oldest job not finished.
        arrived, finished: jobs.
    """

    at: float
    desired: int
    starting: int
    serving: int
    draining: int
    waiting: int
    in_hand: int
    oldest_s: float
    arrived: int
    finished: int


class Contender(Protocol):
    """A rule that decides the number of workers."""

    @property
    def name(self) -> str:
        """Return the name for tables and pictures."""

    @property
    def interval(self) -> float:
        """Return the seconds between two decisions."""

    def decide(self, view: FleetView) -> int:
        """Return the desired number of workers, between minimum and maximum of the workload."""


@dataclass(slots=True)
class Series:
    """The course of a simulation, once a second.

    Attributes:
        workers: all workers that cost something: starting, serving and draining.
        lag_s: age of the oldest job that is not finished.
        waiting: jobs that no worker had yet.
    """

    workers: list[int] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one contender.

    Attributes:
        contender: its name.
        jobs: finished.
        slo_misses: finished later than `Workload.within` after their arrival, or never.
        worker_seconds: of all workers, from their start to their end.
        oscillations: how often more wanted workers were followed by fewer, or the other way round.
        max_lag_s: the longest time from a job's arrival to its end.
        peak: most workers at once.
    """

    contender: str
    jobs: int
    slo_misses: int
    worker_seconds: float
    oscillations: int
    max_lag_s: float
    peak: int
    series: Series


class _Worker:
    __slots__ = ("draining", "in_hand", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.in_hand = 0
        self.draining = False


def arrivals(trace: Trace, seed: int) -> list[int]:
    """Return the jobs that arrive in each step; those of one second come at random moments of it."""
    rng = random.Random(seed)
    per_second = round(1 / STEP)
    steps = [0] * (len(trace.arrivals) * per_second)
    for second, count in enumerate(trace.arrivals):
        base = second * per_second
        for _ in range(count):
            steps[base + int(rng.random() * per_second)] += 1
    return steps


def simulate(trace: Trace, load: Workload, contender: Contender) -> Result:
    """Run a contender on a trace, starting with the workers that its first half minute needs, until the last job."""
    service = _Service(load, contender, _at_first(trace, load))
    interval = max(1, _steps(contender.interval))
    for step, count in enumerate(arrivals(trace, load.seed)):
        service.step(step, count, decides=step % interval == 0)
    step = len(trace.arrivals) * round(1 / STEP)
    end = step + _steps(_LONGEST_TAIL)
    while service.unfinished and step < end:
        service.step(step, 0, decides=step % interval == 0)
        step += 1
    return service.result()


def _at_first(trace: Trace, load: Workload) -> int:
    """Return the initial workers: traces begin in the middle of a day, not with a cold start."""
    first = trace.arrivals[:30]
    return max(load.minimum, min(load.maximum, math.ceil(sum(first) / max(1, len(first)) / load.rate)))


class _Service:
    """The state of a simulation."""

    def __init__(self, load: Workload, contender: Contender, workers: int) -> None:
        self._load = load
        self._contender = contender
        self._start_steps = max(1, -int(-load.start_s // STEP))
        self._service_steps = load.service_steps
        self._waiting: deque[list[int]] = deque()  # [arrived in step, count]
        self._in_hand: deque[tuple[int, int, int, _Worker]] = deque()  # (ends in step, arrived in step, count, worker)
        self._starting: deque[tuple[int, _Worker]] = deque()  # (serves from step, worker)
        self._serving = [_Worker(number) for number in range(workers)]
        self._draining = 0
        self._number = workers
        self._desired = workers
        self._direction = 0
        self._oscillations = 0
        self._arrived = self._finished = self._held = self._missed = self._queued = 0
        self._max_lag = 0
        self._worker_steps = 0
        self._peak = workers
        self._series = Series()

    @property
    def unfinished(self) -> int:
        return self._arrived - self._finished

    def step(self, step: int, arriving: int, *, decides: bool) -> None:
        while self._starting and self._starting[0][0] <= step:
            self._serving.append(self._starting.popleft()[1])
        self._finish(step)
        if arriving:
            self._waiting.append([step, arriving])
            self._queued += arriving
            self._arrived += arriving
        self._assign(step)
        if decides:
            self._follow(self._contender.decide(self._view(step)), step)
        workers = len(self._starting) + len(self._serving) + self._draining
        self._worker_steps += workers
        self._peak = max(self._peak, workers)
        if step % round(1 / STEP) == 0:
            self._series.workers.append(workers)
            self._series.lag_s.append(self._oldest(step) * STEP)
            self._series.waiting.append(self._queued)

    def result(self) -> Result:
        return Result(
            contender=self._contender.name,
            jobs=self._finished,
            slo_misses=self._missed + self.unfinished,
            worker_seconds=self._worker_steps * STEP,
            oscillations=self._oscillations,
            max_lag_s=self._max_lag * STEP,
            peak=self._peak,
            series=self._series,
        )

    def _finish(self, step: int) -> None:
        while self._in_hand and self._in_hand[0][0] <= step:
            _, arrived, count, worker = self._in_hand.popleft()
            worker.in_hand -= count
            if worker.draining and not worker.in_hand:
                self._draining -= 1
            self._finished += count
            self._held -= count
            took = step - arrived
            self._max_lag = max(self._max_lag, took)
            if took > self._load.within_steps:
                self._missed += count

    def _assign(self, step: int) -> None:
        """Assign waiting jobs: workers take turns, and each takes as much as it has room for."""
        if not self._queued or not self._serving:
            return
        slots = self._load.slots
        free = [worker for worker in self._serving if worker.in_hand < slots]
        free.sort(key=lambda worker: worker.in_hand)
        ends = step + self._service_steps
        for index, worker in enumerate(free):
            if not self._queued:
                return
            room = min(slots - worker.in_hand, -(-self._queued // (len(free) - index)))
            while room:
                head = self._waiting[0]
                count = min(room, head[1])
                head[1] -= count
                if not head[1]:
                    self._waiting.popleft()
                self._in_hand.append((ends, head[0], count, worker))
                worker.in_hand += count
                self._held += count
                self._queued -= count
                room -= count

    def _follow(self, desired: int, step: int) -> None:
        if not self._load.minimum <= desired <= self._load.maximum:
            raise AssertionError(f"{self._contender.name} wants {desired} workers")
        direction = (desired > self._desired) - (desired < self._desired)
        if direction:
            self._oscillations += direction == -self._direction
            self._direction = direction
        self._desired = desired
        while len(self._starting) + len(self._serving) < desired:
            self._starting.append((step + self._start_steps, _Worker(self._number)))
            self._number += 1
        surplus = len(self._starting) + len(self._serving) - desired
        for _ in range(min(surplus, len(self._starting))):
            self._starting.pop()
            surplus -= 1
        if surplus > 0:
            self._serving.sort(key=lambda worker: (-worker.in_hand, worker.number))
            leaving = self._serving[-surplus:]
            del self._serving[-surplus:]
            for worker in leaving:
                worker.draining = True
                self._draining += worker.in_hand > 0

    def _view(self, step: int) -> FleetView:
        return FleetView(
            at=step * STEP,
            desired=self._desired,
            starting=len(self._starting),
            serving=len(self._serving),
            draining=self._draining,
            waiting=self._queued,
            in_hand=self._held,
            oldest_s=self._oldest(step) * STEP,
            arrived=self._arrived,
            finished=self._finished,
        )

    def _oldest(self, step: int) -> int:
        if self._in_hand:
            return step - self._in_hand[0][1]
        return step - self._waiting[0][0] if self._waiting else 0


def _steps(seconds: float) -> int:
    return round(seconds / STEP)
