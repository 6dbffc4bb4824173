"""The record of a message's attempts, as a state machine: who is given up, who is run alone."""

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.retry import Retry
from headway.bus.worker.attempts import NONE, SUSPICIOUS, Attempts

retries = st.builds(Retry, attempts=st.integers(1, 8))


def test_a_delivery_alone_costs_no_attempt():
    record = NONE
    for _ in range(100):
        record = record.redelivered()
    assert record.made == 0


def test_an_attempt_that_never_ended_is_a_crash():
    assert NONE.started().redelivered() == Attempts(crashes=1)


def test_a_failed_attempt_is_no_crash():
    assert NONE.started().failed().redelivered() == Attempts(failures=1)


@given(retries)
def test_a_poison_message_kills_at_most_one_worker_more_than_it_has_attempts(retry):
    record, deaths = NONE, 0
    while not record.convicted(retry):
        record = record.started(alone=record.suspicious(retry)).redelivered()
        deaths += 1
    assert deaths <= max(retry.attempts, SUSPICIOUS) + 1
    assert record.alone


@given(retries, st.integers(0, 20))
def test_an_innocent_message_beside_a_poison_one_is_never_given_up(retry, crashes):
    record = NONE
    for _ in range(crashes):
        if record.suspicious(retry):
            break  # it is run alone now, and succeeds
        record = record.started().redelivered()
        assert not record.convicted(retry)


@given(retries)
def test_failures_alone_exhaust_the_attempts_exactly(retry):
    record = NONE
    for n in range(1, retry.attempts + 1):
        assert not record.convicted(retry)
        record = record.started().failed()
        assert record.made == n
    assert record.convicted(retry)
    assert not record.suspicious(retry)


@given(retries, st.lists(st.sampled_from(["fail", "crash"]), max_size=30))
def test_every_history_ends(retry, history):
    record = NONE
    for step in history:
        if record.convicted(retry):
            break
        begun = record.started(alone=record.suspicious(retry))
        record = begun.failed() if step == "fail" else begun.redelivered()
        assert not record.running
        if step == "fail" and retry.exhausted(record.made):
            break  # the worker gives it up after its last failure
    assert record.made <= retry.attempts + SUSPICIOUS + 1
