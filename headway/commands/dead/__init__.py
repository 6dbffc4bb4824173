"""`headway dead`: work that was given up, with its cause and payload; one file a command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

dead = LazyGroup(
    name="dead",
    package=__name__,
    help="Work that was given up, with its cause and its original payload.",
    sections={
        "Commands": {
            "ls": "List dead letters, oldest first.",
            "show": "Show one: cause, attempts, headers, payload.",
            "replay": "Put dead letters back into their queue.",
            "purge": "Delete dead letters for good; asks first.",
        }
    },
)
