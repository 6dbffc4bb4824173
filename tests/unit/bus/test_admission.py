"""Which calls a full worker refuses: those of the tenant with the most in hand."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headway.bus.worker.admission import Admission, Verdict

LIMIT = 6
TENANTS = st.sampled_from("abcd")


def test_a_tenant_that_is_alone_gets_every_slot_and_is_refused_beyond():
    made: Admission[int] = Admission(3)
    assert [made.arrive("a", n) for n in range(5)] == [Verdict.SERVE] * 3 + [Verdict.REFUSE] * 2


def test_a_tenant_with_fewer_calls_gets_the_next_slot_of_the_one_that_floods():
    made: Admission[str] = Admission(3)
    for n in range(3):
        made.arrive("flood", f"{n}")
    assert made.arrive("quiet", "one") is Verdict.WAIT
    assert made.arrive("flood", "more") is Verdict.REFUSE
    assert made.leave("flood") == "one"


def test_nobody_waits_who_would_then_have_more_than_the_others():
    made: Admission[str] = Admission(2)
    made.arrive("a", "1")
    made.arrive("b", "2")
    assert made.arrive("c", "3") is Verdict.REFUSE


def test_a_call_that_was_taken_out_gets_no_slot():
    made: Admission[str] = Admission(3)
    for n in range(3):
        made.arrive("flood", f"{n}")
    made.arrive("quiet", "gone")
    assert made.withdraw("quiet", "gone")
    assert not made.withdraw("quiet", "gone")
    assert made.leave("flood") is None


@given(st.lists(TENANTS, max_size=60))
def test_while_one_tenant_floods_every_other_gets_its_share_of_the_slots(others):
    made: Admission[tuple[str, int]] = Admission(LIMIT)
    for n in range(LIMIT):
        made.arrive("flood", ("flood", n))
    waiting = Counter(one for n, one in enumerate(others) if made.arrive(one, (one, n)) is Verdict.WAIT)
    served: Counter[str] = Counter()
    for _ in range(LIMIT - LIMIT // 5):
        call = made.leave("flood")
        served[call[0] if call is not None else ""] += 1
        made.arrive("flood", ("flood", -1))
    for tenant, count in waiting.items():
        assert served[tenant] >= min(count, LIMIT // 5)


class Worker(RuleBasedStateMachine):
    """A worker under any traffic."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Admission[tuple[str, int]] = Admission(LIMIT)
        self.served: list[tuple[str, int]] = []
        self.waiting: list[tuple[str, int]] = []
        self.number = 0

    @rule(tenant=TENANTS)
    def arrive(self, tenant):
        self.number += 1
        call = (tenant, self.number)
        held = Counter(one for one, _ in self.served)
        full = len(self.served) == LIMIT
        verdict = self.made.arrive(tenant, call)
        assert (verdict is Verdict.SERVE) == (not full)
        if verdict is Verdict.SERVE:
            self.served.append(call)
        elif verdict is Verdict.WAIT:
            self.waiting.append(call)
            assert held[tenant] + 1 < max(held.values())
        elif len(self.waiting) < LIMIT:
            queued = sum(one == tenant for one, _ in self.waiting)
            assert held[tenant] + queued + 1 >= max(held.values())

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def end(self, data):
        call = data.draw(st.sampled_from(self.served))
        self.served.remove(call)
        following = self.made.leave(call[0])
        assert (following is None) == (not self.waiting)
        if following is not None:
            held = Counter(one for one, _ in self.served)
            assert held[following[0]] == min(held[one] for one, _ in self.waiting)
            self.waiting.remove(following)
            self.served.append(following)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data):
        call = data.draw(st.sampled_from(self.waiting))
        assert self.made.withdraw(*[call[0], call])
        self.waiting.remove(call)

    @invariant()
    def nobody_waits_beside_a_free_slot(self):
        assert len(self.served) <= LIMIT
        assert self.made.waiting == len(self.waiting)
        assert not self.waiting or len(self.served) == LIMIT


TestWorker = Worker.TestCase
