"""What can go wrong with images beside what broker/errors.py has; each with one clear line and a remedy.

ImageError
├── BuildFailed     no image can be made of this source
├── LabelTaken      the version label stands for another image
├── ImageInUse      an image cannot be removed: something refers to it, or nobody can tell
├── NotHealthy      an image is not promoted: its rollout was not healthy where it comes from
└── ContractBroken  a version would break who knows the one before it
"""

from __future__ import annotations

from bus.errors import UsageError


class ImageError(UsageError):
    """Base of what goes wrong when images are built, published or removed."""

    code = "image"


class BuildFailed(ImageError):
    """No image can be made of this source; nothing was published."""

    code = "build_failed"


class LabelTaken(ImageError):
    """A version label stands for one image for good, and this is another one."""

    code = "label_taken"
    status = 409
    default_remedy = "give it the next label: versions do not change"


class ImageInUse(ImageError):
    """An image stays as long as something may be started from it."""

    code = "image_in_use"
    status = 409
    default_remedy = "retire the version first, or wait until its rollback window is over"


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
