"""`headway schedules pause`."""

from __future__ import annotations

from headway.commands.schedules.shared import switch

pause = switch(
    "pause",
    "Stop a periodic JOB of SERVICE from running by itself. Queued runs are still done.",
    "is paused",
    paused=True,
)
