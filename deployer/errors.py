"""Errors of the deployer; each with one clear line and a remedy.

DeployerError
├── RolloutRuns     a rollout of the same service is under way
├── NoRollout       there is none to promote, pause or roll back
├── UnknownVersion  an unknown or removed version
├── NotLeading      another deployer is the leader now
├── NotProven       a shift would lose traffic, so it was not made
├── CheckFailed     a user's check failed
└── BadCheck        a user's check cannot be parsed
headway.images.errors.ImageError
├── NotHealthy      an image is not promoted: its rollout in the source environment was not healthy
└── ContractBroken  a version would break clients of the previous one
"""

from __future__ import annotations

from headway.bus.errors import HeadwayError
from headway.images.errors import ImageError


class DeployerError(HeadwayError):
    """Base of the deployer's errors."""

    code = "deployer"


class RolloutRuns(DeployerError):
    """A rollout of the same service is under way."""

    code = "rollout_runs"
    status = 409


class NoRollout(DeployerError):
    """There is no rollout for this request."""

    code = "no_rollout"
    status = 404
    default_remedy = "see `headway rollout history SERVICE`, or start one with `headway deploy SERVICE VERSION`"


class UnknownVersion(DeployerError):
    """A version is not known."""

    code = "unknown_version"
    status = 404


class NotLeading(DeployerError):
    """Another deployer is the leader now, so this one does not act."""

    code = "not_leading"
    status = 409
    default_remedy = "nothing to do: the other deployer continues"


class NotProven(DeployerError):
    """It could not be proven that a shift loses nothing, so it was not made."""

    code = "not_proven"
    status = 503


class CheckFailed(DeployerError):
    """A check did not get the answer it should."""

    code = "check_failed"


class CheckUnknown(DeployerError):
    """The result of a check is unknown."""

    code = "check_unknown"
    status = 503


class BadCheck(DeployerError):
    """A check cannot be parsed."""

    code = "bad_check"
    status = 400


class NotHealthy(ImageError):
    """An image is promoted only if its rollout in the source environment was healthy."""

    code = "not_healthy"
    status = 409
    default_remedy = "roll it out there first, until it has all traffic"


class ContractBroken(ImageError):
    """A version would break clients of the previous version. It got no traffic."""

    code = "contract_broken"
    status = 409
    default_remedy = (
        "keep what the old version took and replied, and add fields with a default; --breaking deploys it anyway"
    )
