"""Jobs for later and periodic jobs: submits each one when its time comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.scheduler.scheduler import Scheduler

__all__ = ["Scheduler"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(__name__, {"scheduler": ("Scheduler",)})
