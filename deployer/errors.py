"""What can go wrong in the deployer; each with one clear line and a remedy.

DeployerError
├── RolloutRuns     a rollout of the same service is under way
├── NoRollout       there is none to promote, pause or take back
├── UnknownVersion  a version that is not known, or not any more
├── NotLeading      another deployer acts by now
├── NotProven       a shift would lose traffic, so it was not made
├── CheckFailed     a call or query that the user gave did not say what it should
└── BadCheck        such a check cannot be read
headway.images.errors.ImageError
├── NotHealthy      an image is not promoted: its rollout was not healthy where it comes from
└── ContractBroken  a version would break who knows the one before it
"""

from __future__ import annotations

from headway.bus.errors import HeadwayError
from headway.images.errors import ImageError


class DeployerError(HeadwayError):
    """Base of what goes wrong in the deployer."""

    code = "deployer"


class RolloutRuns(DeployerError):
    """A rollout of the same service is under way."""

    code = "rollout_runs"
    status = 409


class NoRollout(DeployerError):
    """There is no rollout that this could be done to."""

    code = "no_rollout"
    status = 404
    default_remedy = "see `headway rollout history SERVICE`, or start one with `headway deploy SERVICE VERSION`"


class UnknownVersion(DeployerError):
    """A version is not known."""

    code = "unknown_version"
    status = 404


class NotLeading(DeployerError):
    """Another deployer acts by now, so this one does not."""

    code = "not_leading"
    status = 409
    default_remedy = "nothing to do: the other one goes on"


class NotProven(DeployerError):
    """It could not be proven that a shift loses nothing, so it was not made."""

    code = "not_proven"
    status = 503


class CheckFailed(DeployerError):
    """A check did not get the answer it should."""

    code = "check_failed"


class CheckUnknown(DeployerError):
    """It could not be found out whether a check is good."""

    code = "check_unknown"
    status = 503


class BadCheck(DeployerError):
    """A check cannot be read."""

    code = "bad_check"
    status = 400


class NotHealthy(ImageError):
    """An image is promoted only if its rollout was healthy where it comes from."""

    code = "not_healthy"
    status = 409
    default_remedy = "roll it out there first, until it has all traffic"


class ContractBroken(ImageError):
    """A version would break who knows the one before it. No traffic was given to it."""

    code = "contract_broken"
    status = 409
    default_remedy = (
        "keep what the old version took and replied, and add fields with a default; --breaking deploys it all the same"
    )
