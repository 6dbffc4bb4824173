"""`headway scale`: the scaler's decisions with their reasons, and simulations of other loads."""

from __future__ import annotations

from headway.commands.base import LazyGroup

scale = LazyGroup(
    name="scale",
    package=__name__,
    help="Explain the number of workers, and try policies on recorded load.",
    sections={
        "Commands": {
            "history": "Show the last decisions for a service, with their reasons.",
            "simulate": "Replay a trace of arrivals against a policy.",
        }
    },
)
