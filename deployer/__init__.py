"""Rollouts and the analysis of canaries. Communicates with the scaler only through the control records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.deployer import bounds, checks, diff, promote, prove
    from headway.deployer.errors import NoRollout
    from headway.deployer.rollout.deployer import Deployer

__all__ = [
    "Deployer",
    "NoRollout",
    "bounds",
    "checks",
    "diff",
    "promote",
    "prove",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "": ("bounds", "checks", "diff", "promote", "prove"),
            "errors": ("NoRollout",),
            "rollout.deployer": ("Deployer",),
        },
    )
