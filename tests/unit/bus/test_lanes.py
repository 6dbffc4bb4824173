"""Sharing a worker's slots out over its lanes: the plan, and what a simulated server makes of it."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.worker.lanes import WINDOW, PullState, plan

lane_states = st.builds(
    PullState,
    outstanding=st.integers(0, 64),
    in_hand=st.integers(0, 64),
    pending=st.integers(0, 100_000),
)
states = st.lists(lane_states, min_size=1, max_size=20)


@given(st.integers(1, 512), states, st.integers(0, 30))
def test_no_lane_is_asked_for_more_than_there_are_free_slots(concurrency, lanes, cursor):
    asked = plan(concurrency, lanes, cursor)
    hot = sum(batch for i, batch in asked if lanes[i].pending > 0)
    in_hand = sum(lane.in_hand for lane in lanes)
    outstanding = sum(lane.outstanding for lane in lanes if lane.pending > 0)
    assert hot <= max(0, concurrency - in_hand - outstanding)
    assert all(batch > 0 for _, batch in asked)
    assert len({i for i, _ in asked}) == len(asked)


@given(st.integers(1, 512), states)
def test_a_full_worker_asks_for_nothing(concurrency, lanes):
    lanes[0].in_hand += concurrency
    assert plan(concurrency, lanes) == []


@given(st.integers(4, 512), st.integers(1, 20))
def test_every_idle_lane_has_one_request_standing(concurrency, count):
    lanes = [PullState() for _ in range(count)]
    asked = plan(concurrency, lanes)
    assert asked == [(i, 1) for i in range(count)]
    for i, batch in asked:
        lanes[i].outstanding += batch
    assert plan(concurrency, lanes) == []


def test_lanes_with_work_share_alike_whatever_their_backlog():
    lanes = [PullState(pending=1_000_000), PullState(pending=50), PullState(pending=50)]
    asked = dict(plan(90, lanes))
    assert asked[0] == asked[1] == asked[2] == 30


def test_a_lane_is_refilled_when_half_of_its_share_is_used():
    lanes = [PullState(pending=1000, outstanding=13)]
    assert plan(24, lanes) == []
    lanes[0].outstanding = 12
    assert plan(24, lanes) == [(0, 12)]


def test_a_flooded_lane_does_not_get_all_free_slots_in_one_burst():
    lanes = [PullState(pending=60_000)]
    assert plan(1000, lanes) == [(0, WINDOW)]
    lanes[0].outstanding = WINDOW
    assert plan(1000, lanes) == []
    lanes[0].outstanding, lanes[0].in_hand = WINDOW // 2, WINDOW // 2
    assert plan(1000, lanes) == [(0, WINDOW // 2)]


class Server:
    """Queues of lanes that answer pull requests, and a worker that works one round after the other."""

    def __init__(self, concurrency, queues):
        self.concurrency = concurrency
        self.queues = [deque(queue) for queue in queues]
        self.lanes = [PullState() for _ in queues]
        self.hand = deque()
        self.cursor = 0
        self.handed_back = 0

    def round(self):
        for i, batch in plan(self.concurrency, self.lanes, self.cursor):
            self.lanes[i].outstanding += batch
            self.cursor = i + 1
        for i, lane in enumerate(self.lanes):
            while lane.outstanding and self.queues[i]:
                lane.outstanding -= 1
                item = self.queues[i].popleft()
                lane.pending = len(self.queues[i])
                if len(self.hand) >= self.concurrency:
                    self.queues[i].append(item)
                    self.handed_back += 1
                    lane.pending = max(1, lane.pending)
                    continue
                lane.in_hand += 1
                self.hand.append((i, item))
            if not self.queues[i]:
                lane.pending = 0
        done = []
        for _ in range(min(4, len(self.hand))):
            i, item = self.hand.popleft()
            self.lanes[i].in_hand -= 1
            done.append(item)
        return done


@given(st.integers(2, 64), st.lists(st.integers(0, 60), min_size=1, max_size=16))
def test_all_work_of_all_lanes_gets_done(concurrency, sizes):
    server = Server(concurrency, [[(i, n) for n in range(size)] for i, size in enumerate(sizes)])
    done = []
    for _ in range(sum(sizes) * 2 + 50):
        done += server.round()
    assert sorted(done) == sorted((i, n) for i, size in enumerate(sizes) for n in range(size))


@given(st.integers(8, 64), st.integers(1, 15))
def test_a_flood_on_one_lane_delays_another_by_at_most_what_is_in_hand(concurrency, other):
    server = Server(concurrency, [[("flood", n) for n in range(5000)], *[[] for _ in range(15)]])
    for _ in range(50):
        server.round()
    server.queues[other].append(("quiet", 0))
    before = len(server.hand)
    waited = []
    while ("quiet", 0) not in waited:
        waited += server.round()
        assert len(waited) <= before + concurrency + 8, "the flood went first"
