"""`headway rollout`: bring a version into use step by step; one file per command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

rollout = LazyGroup(
    name="rollout",
    package=__name__,
    help="Bring a version into use step by step, or roll it back.",
    sections={
        "Commands": {
            "start": "Roll out a version step by step, with automatic analysis.",
            "watch": "Watch a rollout live.",
            "promote": "Go to the next step now.",
            "pause": "Hold a rollout where it is.",
            "resume": "Continue after a pause.",
            "abort": "Send all traffic back to the previous version.",
            "undo": "Roll a service back to an earlier version.",
            "history": "Show a service's rollouts and the reasons of their transitions.",
        }
    },
)
