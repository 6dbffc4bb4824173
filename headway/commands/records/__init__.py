"""`headway records`: unreadable control records, and how to restore them."""

from __future__ import annotations

from headway.commands.base import LazyGroup

records = LazyGroup(
    name="records",
    package=__name__,
    help="List control records that cannot be read, and restore them.\n\n"
    "Whatever such a record describes stays as it was: workers keep running, rollouts wait.",
    sections={
        "Commands": {
            "ls": "List unreadable records, and why.",
            "mend": "Restore records from their copies.",
        }
    },
)
