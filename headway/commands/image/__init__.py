"""`headway image`: immutable snapshots of versions, from which workers are started; one file per command."""

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
            "show": "Show the contents of an image.",
            "diff": "Show what a version changes, and what it breaks.",
            "verify": "Compare every byte with the digest, and check signatures.",
            "sign": "Sign an image that you trust and that was not built here.",
            "keys": "List trusted keys, or make a key for a machine that builds.",
            "trust": "Trust another key from now on.",
            "distrust": "Trust a key no longer.",
            "promote": "Bring a proven image to another environment.",
            "rm": "Remove an unused image.",
        }
    },
)
