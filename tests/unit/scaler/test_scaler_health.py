"""Who is sick: silence, a late event loop, a failing check, too much memory; and when it is us who do not hear."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headway.scaler.health import Vitals, deaf, diagnose, outdated


@dataclass
class Said:
    """The parts of a heartbeat that count here."""

    loop_lag_s: float = 0.0
    healthy: bool = True
    rss_bytes: int = 50_000_000
    hung: int = 0


def seen(*beats, heard: float | None = 100.0) -> Vitals:
    return Vitals("w", started=0.0, heard=heard, beats=beats or (Said(), Said(), Said()))


def kind(found):
    return None if found is None else found.kind


@pytest.mark.parametrize(("now", "expected"), [(100.5, None), (102.9, None), (103.0, "silent"), (200, "silent")])
def test_three_seconds_without_a_heartbeat_are_silence(now, expected):
    assert kind(diagnose(seen(), now)) == expected


def test_a_worker_has_half_a_minute_to_begin():
    fresh = Vitals("w", started=100.0, heard=None, beats=())
    assert diagnose(fresh, 129.9) is None
    assert diagnose(fresh, 130).reason == "it has not begun to serve within 30 s"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(loop_lag_s=1.6), "stuck"),
        (Said(loop_lag_s=1.5), None),
        (Said(hung=1), "hung"),
        (Said(healthy=False), "unhealthy"),
        (Said(rss_bytes=600_000_000), "memory"),
        (Said(rss_bytes=500_000_000), None),
        (Said(), None),
    ],
)
def test_what_a_worker_says_three_times_in_a_row_counts(said, expected):
    assert kind(diagnose(seen(said, said, said), 100, memory=500_000_000)) == expected
    assert diagnose(seen(said, said), 100, memory=500_000_000) is None
    assert diagnose(seen(said, Said(), said), 100, memory=500_000_000) is None


def test_only_the_last_three_count():
    sick = Said(healthy=False)
    assert kind(diagnose(seen(Said(), sick, sick, sick), 100)) == "unhealthy"
    assert diagnose(seen(sick, sick, sick, Said()), 100) is None


def test_the_reason_has_the_last_numbers():
    late, large = Said(loop_lag_s=2.0), Said(rss_bytes=600_000_000)
    assert (
        diagnose(seen(late, late, Said(loop_lag_s=2.5)), 100).reason == "its event loop is 2.5 s late, 3 times in a row"
    )
    assert (
        diagnose(seen(Said(hung=1), Said(hung=1), Said(hung=4)), 100).reason == "4 handlers go on after their timeout"
    )
    largest = Said(rss_bytes=700_000_000)
    assert diagnose(seen(large, large, largest), 100, memory=500_000_000).reason == "it uses 700 MB of 500 MB"
    huge = Said(rss_bytes=6 * 10**12)
    assert diagnose(seen(huge, huge, huge), 100, memory=5 * 10**12).reason == "it uses 6,000,000 MB of 5,000,000 MB"
    assert diagnose(seen(), 104.25).reason == "no heartbeat for 4.2 s"


def test_without_a_limit_memory_is_no_illness():
    huge = Said(rss_bytes=10**12)
    assert diagnose(seen(huge, huge, huge), 100) is None


def heard(at: float) -> Vitals:
    return Vitals("w", started=0.0, heard=at, beats=())


FRESH = Vitals("w", started=99.0, heard=None, beats=())
NEVER = Vitals("w", started=0.0, heard=None, beats=())


def test_when_nobody_is_heard_of_late_it_is_us():
    assert deaf([heard(98.5), heard(97.0)], 100)
    assert not deaf([heard(99.0), heard(97.0)], 100)
    assert not deaf([heard(97.0)], 100), "of one alone it may well be true"
    assert not deaf([], 100)


def test_the_first_of_many_whose_silence_is_long_enough_is_no_more_to_blame_than_the_others():
    everyone = [heard(96.9 + phase / 10) for phase in range(10)]  # all fell silent at the same moment
    assert diagnose(everyone[0], 100).kind == "silent"
    assert diagnose(everyone[-1], 100) is None
    assert deaf(everyone, 100)


def test_one_that_has_just_begun_is_no_proof_that_we_can_hear():
    assert deaf([heard(97.0), FRESH, heard(97.0)], 100)
    assert not deaf([heard(97.0), FRESH], 100)
    assert deaf([heard(97.0), NEVER], 100)
    assert not deaf([FRESH, FRESH], 100)


def test_one_that_had_its_time_to_begin_ought_to_be_heard():
    just, not_yet = (Vitals("w", started=started, heard=None, beats=()) for started in (70.0, 70.1))
    assert deaf([heard(97.0), just], 100)
    assert not deaf([heard(97.0), not_yet], 100)


def test_a_worker_of_another_revision_is_outdated_and_one_of_an_unknown_revision_is_not():
    found = outdated("r1", "r2")
    assert found is not None
    assert (found.kind, found.reason) == ("outdated", "its code was edited")
    assert outdated("r2", "r2") is None
    assert outdated(None, "r2") is None
