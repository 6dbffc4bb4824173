"""The priority of a worker process: services with jobs yield the processor to services that only answer calls.

Linux shares a processor among sessions first, where autogroups are on (sched(7)), and every worker has a session of its
own. So the niceness of its autogroup is set as well as that of the process.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from headway.control.records import Priority

NICENESS: Final[dict[Priority, int]] = {"high": 0, "low": 10}
"""A process of niceness 10 gets a ninth of the processor time of one of niceness 0 while both want it."""
SHARES: Final[dict[Priority, int]] = {"high": 1024, "low": 114}
"""The same proportion for containers."""
_AUTOGROUP: Final = Path("/proc/self/autogroup")


def take(priority: Priority) -> None:
    """Take a priority, in the process itself, after it has got its session. It cannot be raised again."""
    niceness = NICENESS[priority]
    if not niceness:
        return
    os.nice(niceness)
    with contextlib.suppress(OSError):  # no autogroups here
        _AUTOGROUP.write_text(str(niceness))
