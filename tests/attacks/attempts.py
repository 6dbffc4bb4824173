"""Count attempts, and name those that got through."""

from __future__ import annotations

from collections.abc import Iterable

PROPERTY = "attacks"
"""Name under which a test reports its attempts."""


class Attempts:
    """The attempts of one test.

    Attributes:
        tried: how many were made.
        through: what got through.
    """

    def __init__(self) -> None:
        self.tried = 0
        self.through: list[str] = []

    def judge(self, what: str, *, refused: bool) -> None:
        """Count one attempt."""
        self.tried += 1
        if not refused:
            self.through.append(what)

    @property
    def refused(self) -> int:
        return self.tried - len(self.through)


def total(reports: Iterable[tuple[int, int]]) -> str:
    """Return the line that ends a run."""
    tried, refused = map(sum, zip(*reports, strict=True))
    return f"attacks: {tried} tried, {refused} refused"
