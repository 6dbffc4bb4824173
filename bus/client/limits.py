"""Rate limits by key, as token buckets. The caller passes the time."""

from __future__ import annotations

from collections import OrderedDict

from headway.bus.errors import RateLimited


class Rates:
    """One token bucket for each key, such as a tenant.

    The number of keys is bounded: the least recently used one is dropped, which refills its bucket.

    Args:
        rate: tokens per second.
        burst: capacity of a bucket.
        keys: maximum number of keys.
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
            key: key of the bucket.
            now: monotonic seconds.
            count: number of tokens.

        Returns:
            0 if they were available; otherwise the seconds until they are, and nothing is taken.
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
        """Take tokens for work already done, even more than there are; later requests then wait longer.

        Args:
            key: key of the bucket.
            now: monotonic seconds.
            count: number of tokens.
        """
        if self.take(key, now, count) > 0:
            left, at = self._buckets[key]
            self._buckets[key] = (left - count, at)

    def check(self, key: str, now: float, what: str, *, take: bool = True) -> None:
        """Take one token, or raise if there is none.

        Args:
            key: key of the bucket.
            now: monotonic seconds.
            what: the limited things in the plural, for the error.
            take: False checks without taking the token.

        Raises:
            RateLimited: if there is none; says how long to wait.
        """
        wait = self.take(key, now)
        if wait > 0:
            raise RateLimited(f"too many {what}", retry_after=wait)
        if not take:
            self.take(key, now, -1.0)

    def __len__(self) -> int:
        return len(self._buckets)
