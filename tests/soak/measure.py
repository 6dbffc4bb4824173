"""What an installation uses: its processes, by /proc, and what the server keeps for it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from headway.bus.nats import streams
from tests.soak.growth import Sample
from tests.support.headway_process import children
from tests.zones.place import Place

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
LOG_WINDOW = 60.0
"""Seconds whose log lines are counted."""


class Log:
    """What all processes say. Counts lines; keeps them in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)
        self._times: list[float] = []

    def say(self, label: str, line: str) -> None:
        """Take a line."""
        self._file.write(f"{label}: {line}\n")
        self._times.append(time.monotonic())

    def recent(self) -> float:
        """Return how many lines came in the last minute."""
        since = time.monotonic() - LOG_WINDOW
        self._times = [at for at in self._times if at > since]
        return float(len(self._times))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


async def sample(place: Place, log: Log, began: float, releases: int) -> Sample:
    """Measure once. Of this process, which has the history in memory, nothing is counted."""
    pids = children(os.getpid())
    js = place.running.bus.js
    infos = await js.streams_info()
    control = next((info for info in infos if info.config.name == streams.CONTROL), None)
    return Sample(
        at=time.monotonic() - began,
        releases=releases,
        values={
            "processes": len(pids),
            "rss_mb": sum(_resident(pid) for pid in pids),
            "descriptors": sum(_descriptors(pid) for pid in pids),
            "consumers": sum(info.state.consumer_count for info in infos),
            "records": control.state.messages if control is not None else 0,
            "files": _files(place.store),
            "log_lines": log.recent(),
        },
    )


def _resident(pid: int) -> float:
    """Return the memory in MB that is a process's own: what forks share is counted once, with their parent."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        resident, shared = (Path("/proc") / str(pid) / "statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * PAGE_MB
    return 0.0


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0


def _files(store: Path) -> int:
    """Count files, without those that hold the server's messages: they follow the work, not the releases."""
    count = 0
    for folder, _, names in os.walk(store):
        if "msgs" not in Path(folder).parts:
            count += len(names)
    return count


def as_lines(samples: Sequence[Sample]) -> str:
    """Return samples as a table of comma-separated values, for a spreadsheet."""
    if not samples:
        return ""
    names = list(samples[0].values)
    rows = [",".join(("at", "releases", *names))]
    rows += [
        ",".join(f"{x:g}" for x in (one.at, one.releases, *(one.values[name] for name in names))) for one in samples
    ]
    return "\n".join(rows) + "\n"
