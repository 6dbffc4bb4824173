"""`headway dead`: dead letters with their cause and payload; one file per command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

dead = LazyGroup(
    name="dead",
    package=__name__,
    help="Dead letters: failed work with its cause and original payload.",
    sections={
        "Commands": {
            "ls": "List dead letters, oldest first.",
            "show": "Show one dead letter: cause, attempts, headers, payload.",
            "replay": "Put dead letters back into their queue.",
            "purge": "Delete dead letters for good; asks first.",
        }
    },
)
