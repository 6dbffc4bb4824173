"""`headway schedules resume`."""

from __future__ import annotations

from headway.commands.schedules.shared import switch

resume = switch(
    "resume",
    "Let a paused JOB of SERVICE run by itself again, from its next time on.",
    "runs by itself",
    paused=False,
)
