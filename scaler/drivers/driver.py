"""The interface of drivers. tests/support/driver_contract.py holds what every one of them must keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Launch:
    """What workers of one version are started from.

    Attributes:
        app: `module:variable` of the service.
        root: directory it is imported from.
        config: the version's frozen configuration.
        environment: added to the worker's environment: server, credentials.
        grace: seconds that work in hand has to finish when a worker is stopped; None for as long as its jobs may take.
        image: digest of the image that `root` is the source of; it is verified before every start. None runs a
            working tree as it is.
    """

    service: str
    version: str
    app: str
    root: str
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker that a driver sees alive. `started` in unix seconds; `pid` 0 where it has no meaning."""

    worker: str
    service: str
    version: str
    started: float
    pid: int = 0


@dataclass(frozen=True, slots=True)
class ExitedWorker:
    """A worker that ended. `code` as in subprocess (negative: killed by that signal), None if nobody could tell."""

    worker: str
    service: str
    version: str
    code: int | None
    stderr: tuple[str, ...] = ()


class Driver(Protocol):
    """Starts and stops workers in one kind of place.

    Commands carry `fence`, the epoch of the leader's lease: a driver that has seen a newer one refuses them with
    `Fenced`, so a leader that was asleep while another took over can do no harm.
    """

    async def prepare(self, launch: Launch) -> None:
        """Get ready to start workers of a version quickly (import it, pull its image). May be called again.

        Raises:
            LaunchFailed: if the version cannot be started at all, with what it wrote.
        """

    async def lead(self, fence: int) -> None:
        """Begin to lead: refuse the commands of former leaders from now on, those under way included.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    async def list(self) -> list[RunningWorker]:
        """List the living workers of this installation, those that another scaler started included."""

    async def spawn(self, launch: Launch, worker: str, fence: int) -> RunningWorker:
        """Start a worker under a name; returns when it runs, which is before it serves.

        Raises:
            LaunchFailed: if it cannot be started.
            Fenced: if a newer leader has spoken.
        """

    async def stop(self, worker: str, fence: int, *, kill: bool = False) -> None:
        """Make a worker drain, or kill it. Does nothing if it is gone already.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    async def keep(self, launches: Collection[Launch], fence: int) -> None:
        """Release what is held ready for launches other than these, unless it has workers.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    def exits(self) -> AsyncIterator[ExitedWorker]:
        """Yield the workers that ended, each once, as it happens; also those that were told to."""

    async def close(self) -> None:
        """Release everything. Workers go on."""
