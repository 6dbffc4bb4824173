"""The interface of drivers. tests/support/driver_contract.py holds the tests that every driver must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headway.control.records import Priority


@dataclass(frozen=True, slots=True)
class Launch:
    """What the workers of one version are started from.

    Attributes:
        app: `module:variable` of the service.
        root: directory it is imported from.
        config: the version's frozen configuration.
        environment: added to the worker's environment: server, credentials.
        grace: seconds that work in hand has to finish when a worker is stopped; None allows as long as its jobs may
            take.
        image: digest of the image that `root` is the source of; it is verified before every start. None runs a
            working tree as it is.
        revision: of a working tree, so that a process that has imported an earlier one is not used again.
        priority: "low" yields the processor to "high".
    """

    service: str
    version: str
    app: str
    root: str
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float | None = None
    image: str | None = None
    revision: str = ""
    priority: Priority = "high"


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A live worker, as its driver lists it.

    Attributes:
        started: unix seconds.
        pid: its process; 0 where that has no meaning.
        revision: of the working tree that it runs; None where the driver does not know.
    """

    worker: str
    service: str
    version: str
    started: float
    pid: int = 0
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class ExitedWorker:
    """A worker that ended. `code` as in subprocess (negative: killed by that signal); None if unknown."""

    worker: str
    service: str
    version: str
    code: int | None
    stderr: tuple[str, ...] = ()


class Driver(Protocol):
    """Starts and stops workers in one kind of place.

    Commands carry `fence`, the epoch of the leader's lease: a driver that has seen a newer one refuses them with
    `Fenced`, so a leader that was suspended while another took over does no harm.
    """

    async def prepare(self, launch: Launch) -> None:
        """Prepare to start workers of a version quickly (import it, pull its image). May be called repeatedly.

        Raises:
            LaunchFailed: if the version cannot be started at all, with its output.
        """

    async def lead(self, fence: int) -> None:
        """Start to lead: from now on, refuse the commands of former leaders, including those in progress.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    async def list(self) -> list[RunningWorker]:
        """List the live workers of this installation, including those that another scaler started."""

    async def spawn(self, launch: Launch, worker: str, fence: int) -> RunningWorker:
        """Start a worker under a name; return when it runs, which is before it serves.

        Raises:
            LaunchFailed: if it cannot be started.
            Fenced: if a newer leader has spoken.
        """

    async def stop(self, worker: str, fence: int, *, kill: bool = False) -> None:
        """Drain or kill a worker. Does nothing if it has already ended.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    async def keep(self, launches: Collection[Launch], fence: int) -> None:
        """Release what is prepared for other launches than these, unless they have workers.

        Raises:
            Fenced: if a newer leader has spoken.
        """

    def exits(self) -> AsyncIterator[ExitedWorker]:
        """Yield each ended worker once, as it happens, whether or not it was stopped on purpose."""

    async def close(self) -> None:
        """Release all resources. Workers keep running."""
