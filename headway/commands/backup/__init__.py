"""`headway backup`: save an installation, and restore it."""

from __future__ import annotations

from headway.commands.base import LazyGroup

backup = LazyGroup(
    name="backup",
    package=__name__,
    bare="create",
    help="Save an installation, and restore it.",
    sections={
        "Commands": {
            "create": "Save all streams, keys, routes and images.",
            "restore": "Restore an installation from a backup.",
        }
    },
)
