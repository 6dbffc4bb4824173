"""Decide which lanes to pull from next, and how much. Pure, without I/O.

A worker pulls from many sources at once: the 16 lanes of its version's jobs, and one consumer per event type.
It may process `concurrency` messages at a time. `plan()` divides these slots so that

- every lane with work gets its share, which is that of its tenants, regardless of its backlog: another tenant's
  million jobs delay a lane only by what is being processed already;
- an idle lane has one pending request, so that its first message arrives without delay;
- no more messages are requested than there are slots. Requests to idle lanes are an exception, since at most a quarter
  of the slots is kept free for them: a message that arrives when all slots are taken is handed back at once, and the
  next free slot goes to its lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 32
"""Maximum messages of one lane that are requested at once. If a flooded lane got all free slots, its messages would
arrive as one burst before all others; smaller, overlapping requests are as fast and let other lanes in between."""


MOVED: Final = 1000
"""Messages requested at once from a lane whose jobs are mostly moved to other lanes, which takes no slots."""
MOVING: Final = 30_000
"""Maximum messages that a worker has on their way to other lanes."""

_ROUNDING: Final = 1e-9
"""Added before a share is cut to a whole number: three lanes of equal weight get a third each, not less."""


@dataclass(slots=True)
class PullState:
    """The known state of one source.

    Attributes:
        outstanding: messages requested and not yet delivered.
        in_hand: messages delivered and not yet finished.
        pending: messages that the server still held at the last delivery.
        moving: messages delivered and on their way to another lane.
        sidelining: whether most of its messages are to be moved to other lanes.
        weight: its share of the slots, in proportion to those of other lanes with work.
        factor: correction of the share, so that lanes get their shares of time (`headway.bus.worker.shares`).
    """

    outstanding: int = 0
    in_hand: int = 0
    pending: int = 0
    moving: int = 0
    sidelining: bool = False
    weight: float = 1.0
    factor: float = 1.0


def plan(
    concurrency: int, lanes: Sequence[PullState], cursor: int = 0, limit: int | None = None
) -> list[tuple[int, int]]:
    """Decide which pull requests to send now.

    Args:
        concurrency: maximum number of messages processed at once, over all lanes.
        lanes: the state of each lane.
        cursor: the lane to start with, so that lanes take turns when there are fewer free slots than lanes.
        limit: maximum number of slots for lanes with a backlog; None for all of them.

    Returns:
        (lane, number of messages) for each pull request to send now, possibly none.
    """
    in_hand = sum(lane.in_hand for lane in lanes)
    moving = sum(lane.moving + lane.outstanding for lane in lanes if lane.sidelining)
    requests = [
        (i, MOVED)
        for i, lane in enumerate(lanes)
        if lane.sidelining and lane.pending > 0 and lane.outstanding <= MOVED // 2 and moving < MOVING
    ]
    if in_hand >= concurrency:
        return requests
    hot = [i for i, lane in enumerate(lanes) if lane.pending > 0 and not lane.sidelining]
    if hot:
        reserve = min(len(lanes) - len(hot), concurrency // 4)
        reserve = max(reserve, concurrency - (concurrency if limit is None else limit))
        total = sum(lanes[i].weight * lanes[i].factor for i in hot)
        free = concurrency - reserve - in_hand - sum(lanes[i].outstanding for i in hot)
        start = next((k for k, i in enumerate(hot) if i >= cursor), 0)
        for i in hot[start:] + hot[:start]:
            if free <= 0:
                break
            lane = lanes[i]
            share = max(1, int((concurrency - reserve) * lane.weight * lane.factor / total + _ROUNDING))
            window = min(share, WINDOW)
            if lane.outstanding * 2 > window:
                continue  # refill at half: fewer, larger requests
            unfilled = min(window, share - lane.in_hand, lane.pending + 1) - lane.outstanding
            room = min(unfilled, free)
            if room > 0:
                requests.append((i, room))
                free -= room
    requests.extend((i, 1) for i, lane in enumerate(lanes) if lane.pending == 0 and lane.outstanding == 0)
    return requests
