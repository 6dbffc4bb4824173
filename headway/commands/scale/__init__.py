"""`headway scale`: what the scaler decided and why, and what it would decide on other load."""

from __future__ import annotations

from headway.commands.base import LazyGroup

scale = LazyGroup(
    name="scale",
    package=__name__,
    help="Show why there are so many workers, and try policies on load.",
    sections={
        "Commands": {
            "history": "Show the last decisions on a service, with their reasons.",
            "simulate": "Replay a trace of arrivals against a policy.",
        }
    },
)
