"""Periodic jobs as workers announce them in their heartbeats, and the payload of one run."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Missed = Literal["skip", "run-once", "run-all"]
"""What happens to runs whose time passed while no scheduler acted."""


class PeriodicJob(BaseModel):
    """When a job of a service runs by itself: by a cron expression, or every so many seconds.

    Attributes:
        name: the job's operation.
        cron: five cron fields; "" if it has `every`.
        tz: the time zone of the cron expression.
        every: seconds between two runs, counted from the unix epoch; 0 if it has `cron`.
        missed: what happens to runs whose time was missed.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    cron: str = ""
    tz: str = "UTC"
    every: float = 0.0
    missed: Missed = "run-once"

    @property
    def when(self) -> str:
        """Return the schedule in words, such as `0 3 * * * Europe/Berlin` or `every 30 s`."""
        return f"{self.cron} {self.tz}" if self.cron else f"every {self.every:g} s"


class Tick(BaseModel):
    """The payload of one run of a periodic job.

    Attributes:
        at: the time that the run is for.
        manual: whether a person started it.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    manual: bool = False
