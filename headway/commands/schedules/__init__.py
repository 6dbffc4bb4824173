"""`headway schedules`: periodic jobs; one file per command."""

from __future__ import annotations

from headway.commands.base import LazyGroup

schedules = LazyGroup(
    name="schedules",
    package=__name__,
    help="Periodic jobs: when they run, and starting, pausing and resuming them.",
    sections={
        "Commands": {
            "ls": "List periodic jobs with their last and next run.",
            "run": "Start one run now.",
            "pause": "Stop a periodic job from running by itself.",
            "resume": "Let a paused job run by itself again.",
        }
    },
)
