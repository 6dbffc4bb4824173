"""Numbers of sent work and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SERVICES: Final = ("calls", "fax", "voicemail")


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: float | None) -> float | None:
    """Return seconds as milliseconds, rounded for a table."""
    return None if seconds is None else round(seconds * 1000, 1)


@dataclass(slots=True)
class ServiceCount:
    """One service's numbers.

    Attributes:
        sent: jobs or calls that were sent.
        done: whose effect was found.
        dead_lettered: found among the dead letters.
        latencies: seconds; of jobs from submission to effect, of calls each request.
    """

    sent: int = 0
    done: int = 0
    dead_lettered: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Return how much was sent and found nowhere."""
        return self.sent - self.done - self.dead_lettered


@dataclass(slots=True)
class DemoTally:
    """All numbers of one run.

    Attributes:
        retried: repeated attempts of the workers, from their heartbeats.
        repeated: requests that a caller sent again after an error that allowed it.
        killed: workers that were killed on purpose.
        wrong: failures other than losses, in words.
    """

    counts: dict[str, ServiceCount] = field(default_factory=lambda: {name: ServiceCount() for name in SERVICES})
    retried: int = 0
    repeated: int = 0
    killed: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Return the sum over all services."""
        return sum(count.lost for count in self.counts.values())

    @property
    def well(self) -> bool:
        """Return whether nothing is lost and there are no other failures."""
        return self.lost == 0 and not self.wrong

    def summary(self) -> dict[str, Any]:
        """Return one object of plain JSON types."""
        counts = self.counts.values()
        return {
            "sent": sum(count.sent for count in counts),
            "done": sum(count.done for count in counts),
            "retried": self.retried,
            "repeated": self.repeated,
            "dead_lettered": sum(count.dead_lettered for count in counts),
            "lost": self.lost,
            "killed_workers": self.killed,
            "seconds": round(self.seconds, 2),
            "wrong": self.wrong,
            "services": {name: _service(count) for name, count in self.counts.items()},
        }


def _service(count: ServiceCount) -> dict[str, Any]:
    quantiles = {f"p{int(q * 100)}_ms": percentile(count.latencies, q) for q in (0.5, 0.95, 0.99)}
    return {
        "sent": count.sent,
        "done": count.done,
        "dead_lettered": count.dead_lettered,
        "lost": count.lost,
        **{name: milliseconds(value) for name, value in quantiles.items()},
    }
