"""`headway records`: control records that cannot be read, and how they are restored."""

from __future__ import annotations

from headway.commands.base import LazyGroup

records = LazyGroup(
    name="records",
    package=__name__,
    help="List control records that cannot be read, and restore them.\n\n"
    "What such a record is about stays as it was: workers go on, rollouts stand still.",
    sections={
        "Commands": {
            "ls": "List the records that cannot be read, and why.",
            "mend": "Restore records from the copies that are kept of them.",
        }
    },
)
