"""`headway rollout`: bring a version into use, step by step; one file a command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

rollout = LazyGroup(
    name="rollout",
    package=__name__,
    help="Bring a version into use step by step, and back.",
    sections={
        "Commands": {
            "start": "Roll out a version, step by step and analysed.",
            "watch": "Watch a rollout live.",
            "promote": "Go to the next step now.",
            "pause": "Hold a rollout where it is.",
            "resume": "Go on after a pause.",
            "abort": "Send all traffic back to the version before.",
            "undo": "Take a service back to a version that is kept.",
            "history": "Show a service's rollouts, and why they went as they did.",
        }
    },
)
