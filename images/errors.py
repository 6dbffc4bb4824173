"""What can go wrong with images; each with one clear line and a remedy.

headway.bus.errors.UsageError
└── ImageError
    ├── BuildFailed        no image can be made of this source
    ├── LabelTaken         the version label stands for another image
    └── ImageInUse         an image cannot be removed: something refers to it, or nobody can tell
headway.bus.errors.BrokerError
├── NoImage            there is no such image
├── ImageChanged       an image is not what was built; nothing is started from it
└── WrongRequirements  what an image needs is not what is installed here
"""

from __future__ import annotations

from headway.bus.errors import BrokerError, UsageError


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


class NoImage(BrokerError):
    """There is no such image."""

    code = "no_image"
    status = 404
    default_remedy = "see those there are with `headway image ls`, or make one with `headway image build`"


class ImageChanged(BrokerError):
    """An image is not what was built. Nothing is started from it."""

    code = "image_changed"
    status = 409
    default_remedy = "build it again from the same source, or promote it again: that puts back what is missing"


class WrongRequirements(BrokerError):
    """What an image needs is not what is installed here. Nothing is started from it."""

    code = "wrong_requirements"
    status = 409
    default_remedy = "install what it names, or build a new version here"
