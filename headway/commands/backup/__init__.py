"""`headway backup`: save an installation, and make one of what was saved."""

from __future__ import annotations

from headway.commands.base import LazyGroup

backup = LazyGroup(
    name="backup",
    package=__name__,
    bare="create",
    help="Save an installation, and make one of what was saved.",
    sections={
        "Commands": {
            "create": "Save all streams, keys, routes and images.",
            "restore": "Make an installation of a backup.",
        }
    },
)
