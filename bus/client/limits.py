"""Rates by key, as token buckets: pure, given the time."""

from __future__ import annotations

from collections import OrderedDict

from headway.bus.errors import RateLimited


class Rates:
    """One token bucket for each key, such as a tenant. Bounded: the key that was unused for longest is forgotten, which
    only ever forgives it something.

    Args:
        rate: tokens a second.
        burst: tokens that are there when it has been quiet.
        keys: how many keys are remembered.
    """

    __slots__ = ("_buckets", "_burst", "_keys", "_rate")

    def __init__(self, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float, count: float = 1.0) -> float:
        """Take tokens.

        Args:
            key: whose.
            now: monotonic seconds.
            count: how many.

        Returns:
            0 if they were there; else seconds until they are, and nothing is taken.
        """
        left, at = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._rate)
        short = count - left
        self._buckets[key] = (left if short > 0 else -short, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return short / self._rate if short > 0 else 0.0

    def charge(self, key: str, now: float, count: float) -> None:
        """Take tokens for what has been done already, also more than there are: the next one waits for them.

        Args:
            key: whose.
            now: monotonic seconds.
            count: how many.
        """
        if self.take(key, now, count) > 0:
            left, at = self._buckets[key]
            self._buckets[key] = (left - count, at)

    def check(self, key: str, now: float, what: str, *, take: bool = True) -> None:
        """As `take`, but refuses.

        Args:
            key: whose.
            now: monotonic seconds.
            what: what there are too many of, for the error.
            take: False only looks.

        Raises:
            RateLimited: saying for how long.
        """
        wait = self.take(key, now)
        if wait > 0:
            raise RateLimited(f"too many {what}", retry_after=wait)
        if not take:
            self.take(key, now, -1.0)

    def __len__(self) -> int:
        return len(self._buckets)
