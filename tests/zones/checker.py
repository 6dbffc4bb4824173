"""All promises, checked on a history.

python -m tests.zones.checker .headway-chaos/<run>/history.jsonl    # checks one that was kept, once more
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.zones.finding import Finding
from tests.zones.history import Entry, load
from tests.zones.promises.agents import agents
from tests.zones.promises.calls import calls
from tests.zones.promises.events import events
from tests.zones.promises.jobs import jobs
from tests.zones.promises.objects import objects
from tests.zones.promises.rollouts import rollouts

PROMISES: tuple[Callable[[Sequence[Entry]], list[Finding]], ...] = (jobs, events, objects, calls, agents, rollouts)


def check(history: Sequence[Entry]) -> list[Finding]:
    """What was not kept, in no particular order; nothing if all was."""
    return [finding for promise in PROMISES for finding in promise(history)]


if __name__ == "__main__":
    found = check(load(Path(sys.argv[1])))
    print("\n".join(map(str, found)) or "all promises were kept")
    sys.exit(bool(found))
