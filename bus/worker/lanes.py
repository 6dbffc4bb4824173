"""Which lanes to pull from next, and how much: the decision, without any I/O.

A worker pulls from many sources side by side: the 16 lanes of its version's jobs, and one per event type.
It may have `concurrency` messages in hand. `plan()` shares that out so that

- every lane with work gets the same share, whatever its backlog: one tenant's million jobs cost another lane's
  tenant only what is in hand already;
- an idle lane has one request standing, so that its first message arrives without delay;
- no more is asked for than can be run. Idle lanes' standing requests are the exception, since at most a quarter
  of the slots is kept free for them: what arrives when all is full is handed back at once (`Lanes.delivered`
  says so), and the next free slot goes to that lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 32
"""Messages of one lane that may be on their way here. A flooded lane that got all free slots at once would arrive as
one burst, which all others wait behind; smaller, overlapping requests keep it as fast and let others in between."""


@dataclass(slots=True)
class PullState:
    """What is known of one source.

    Attributes:
        outstanding: messages asked for and not yet delivered.
        in_hand: messages delivered and not yet finished.
        pending: messages the server held back at the last delivery, as it said then.
    """

    outstanding: int = 0
    in_hand: int = 0
    pending: int = 0


def plan(concurrency: int, lanes: Sequence[PullState], cursor: int = 0) -> list[tuple[int, int]]:
    """Decide what to ask for now.

    Args:
        concurrency: how many messages may be in hand, over all lanes.
        lanes: the state of each.
        cursor: the lane to begin with, so that turns go round when there are fewer free slots than lanes.

    Returns:
        (lane, how many) for each pull request to send now, possibly none.
    """
    in_hand = sum(lane.in_hand for lane in lanes)
    if in_hand >= concurrency:
        return []
    hot = [i for i, lane in enumerate(lanes) if lane.pending > 0]
    requests: list[tuple[int, int]] = []
    if hot:
        reserve = min(len(lanes) - len(hot), concurrency // 4)
        share = max(1, (concurrency - reserve) // len(hot))
        free = concurrency - reserve - in_hand - sum(lanes[i].outstanding for i in hot)
        start = next((k for k, i in enumerate(hot) if i >= cursor), 0)
        for i in hot[start:] + hot[:start]:
            if free <= 0:
                break
            lane = lanes[i]
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
