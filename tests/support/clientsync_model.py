"""A stream of last values in memory, as nats-server keeps it: replicas that are behind, tombstones that end, a stream
made anew. It stands in for the server so that thousands of histories can be tried; the same rules run against the real
one in tests/integration/clientsync.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

from nats.aio.msg import Msg

from headway.bus.errors import ConnectionFailed
from headway.bus.nats.values import ValuePage
from headway.clientsync.objects import ObjectFacts, Store

_epochs = count(1)


@dataclass(frozen=True)
class Stored:
    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    at: datetime

    def message(self) -> Msg:
        fields = {**self.headers, "Nats-Subject": self.subject, "Nats-Sequence": str(self.seq)}
        return Msg(None, self.subject, "", self.data, fields)  # type: ignore[arg-type]


def _matching(subject: str, wanted: str) -> bool:
    have, want = subject.split("."), wanted.split(".")
    return len(have) == len(want) and all(w in ("*", h) for h, w in zip(have, want, strict=True))


class ModelStore(Store):
    """Attributes: leaderless: nobody answers what only a leader may; lag: changes a replica may be behind by."""

    def __init__(self, random: Random, replicas: int = 1) -> None:
        self._random = random
        self._replicas = replicas
        self.leaderless = False
        self.lag = 0
        self.remake()

    def remake(self) -> None:
        """The stream is deleted and made again."""
        self._epoch = f"epoch-{next(_epochs)}"
        self._created = datetime.now(UTC)
        self._last = 0
        self._states: list[dict[str, Stored]] = [{}]

    def write(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
        self._last += 1
        stored = Stored(subject, self._last, data, headers, datetime.now(UTC))
        self._states.append({**self.now, subject: stored})
        return stored

    def age(self, seconds: float) -> None:
        """Time passes: everything is older, and tombstones whose time has come are gone."""
        by = timedelta(seconds=seconds)
        self._created -= by
        self._states = [{s: replace(m, at=m.at - by) for s, m in state.items()} for state in self._states]
        now = datetime.now(UTC)
        self._states.append(
            {
                s: m
                for s, m in self.now.items()
                if "Nats-TTL" not in m.headers or m.at + timedelta(seconds=float(m.headers["Nats-TTL"])) > now
            }
        )

    @property
    def count(self) -> int:
        return self._last

    @property
    def now(self) -> dict[str, Stored]:
        return self._states[-1]

    async def page(self, wanted: str, start: int | datetime, *, batch: int = 1000, max_bytes: int = 0) -> ValuePage:
        behind = self._random.randint(0, self.lag) if self._replicas > 1 else 0
        state = self._states[max(0, len(self._states) - 1 - behind)]
        found = sorted(
            (
                m
                for s, m in state.items()
                if _matching(s, wanted) and (m.at >= start if isinstance(start, datetime) else m.seq >= start)
            ),
            key=lambda m: m.seq,
        )
        return ValuePage([m.message() for m in found[:batch]], len(found) > batch)

    async def facts(self) -> ObjectFacts:
        self._needs_leader()
        return ObjectFacts(self._epoch, self._created, self._last, self._replicas)

    async def last(self, wanted: str) -> int:
        self._needs_leader()
        return max((m.seq for s, m in self.now.items() if _matching(s, wanted)), default=0)

    def _needs_leader(self) -> None:
        if self.leaderless:
            raise ConnectionFailed("no leader")
