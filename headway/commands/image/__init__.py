"""`headway image`: immutable snapshots of versions, which workers are started from; one file a command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

image = LazyGroup(
    name="image",
    package=__name__,
    help="Immutable snapshots of versions: source, requirements, configuration.\n\n"
    "IMAGE is a service and a version, or a digest or its beginning.",
    sections={
        "Commands": {
            "build": "Build an image of a service.",
            "ls": "List images.",
            "show": "Show what an image is made of.",
            "diff": "Show what a version changes, and what it would break.",
            "verify": "Compare every byte of an image, or of all, with its digest.",
            "promote": "Bring a proven image to another environment.",
            "rm": "Remove an image that nothing needs.",
        }
    },
)
