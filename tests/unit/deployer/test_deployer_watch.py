"""What a rollout's deadlines count: seconds in which a deployer watched, and nobody had paused it."""

from __future__ import annotations

from headway.control.records import RolloutRecord
from headway.deployer.rollout.watch import GAP, NOTED_EVERY, Watch


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def record(**changes) -> RolloutRecord:
    return RolloutRecord(service="fax", version="v2", before="v1", phase="warm-up", since=5.0, **changes)


def test_a_stopped_deployer_and_a_pause_count_for_nothing():
    clock = Clock()
    watch = Watch(clock)
    assert watch.look(record()) == 0.0
    clock.now += 1.0
    assert watch.look(record()) == 1.0
    clock.now += 130.0  # stopped, with all its threads
    assert watch.look(record()) == 1.0 + GAP
    clock.now += 2.0
    assert watch.look(record(paused=True)) == 1.0 + GAP
    clock.now += 2.0
    assert watch.look(record()) == 3.0 + GAP


def test_a_successor_goes_on_with_what_was_noted():
    clock = Clock()
    watch = Watch(clock)
    watch.look(record())
    for _ in range(int(NOTED_EVERY)):
        assert watch.noted(record()) == record()
        clock.now += 1.0
        watch.look(record())
    noted = watch.noted(record())
    assert noted.watched == NOTED_EVERY
    assert Watch(clock).look(noted) == NOTED_EVERY


def test_each_phase_begins_anew():
    clock = Clock()
    watch = Watch(clock)
    watch.look(record())
    clock.now += 3.0
    watch.look(record())
    assert watch.look(record().model_copy(update={"phase": "shift", "since": 9.0})) == 0.0
