"""`headway audit`: what operators did; one file per command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

audit = LazyGroup(
    name="audit",
    package=__name__,
    help="The audit log: what operators did, by command or in the console.",
    sections={
        "Commands": {
            "ls": "List actions, oldest first.",
            "export": "Write all entries to a file, one JSON object per line.",
        }
    },
)
