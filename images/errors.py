"""Errors of images, each with a clear message and a remedy.

headway.bus.errors.UsageError
└── ImageError
    ├── BuildFailed        no image can be built from this source
    ├── LabelTaken         the version label refers to another image
    └── ImageInUse         an image cannot be removed: it is in use, or that cannot be determined
headway.bus.errors.BrokerError
├── NoImage            there is no such image
├── ImageChanged       an image was changed since it was built; nothing is started from it
├── NotSigned          no trusted key has signed an image; nothing is started from it
└── WrongRequirements  an image's requirements are not installed here
"""

from __future__ import annotations

from headway.bus.errors import BrokerError, UsageError


class ImageError(UsageError):
    """Base class of errors of building, publishing and removing images."""

    code = "image"


class BuildFailed(ImageError):
    """No image can be built from this source; nothing was published."""

    code = "build_failed"


class LabelTaken(ImageError):
    """A version label permanently refers to one image, and this is a different one."""

    code = "label_taken"
    status = 409
    default_remedy = "use a new label: versions do not change"


class ImageInUse(ImageError):
    """An image cannot be removed as long as something may be started from it."""

    code = "image_in_use"
    status = 409
    default_remedy = "retire the version first, or wait until its rollback window is over"


class NoImage(BrokerError):
    """There is no such image."""

    code = "no_image"
    status = 404
    default_remedy = "list images with `headway image ls`, or build one with `headway image build`"


class ImageChanged(BrokerError):
    """An image was changed since it was built. Nothing is started from it."""

    code = "image_changed"
    status = 409
    default_remedy = "build it again from the same source, or promote it again: that restores missing files"


class NotSigned(BrokerError):
    """No trusted key has signed an image. Nothing is started from it."""

    code = "not_signed"
    status = 403
    default_remedy = "build it again here; or, if you trust it, sign it with `headway image sign`"


class WrongRequirements(BrokerError):
    """An image's requirements are not installed here. Nothing is started from it."""

    code = "wrong_requirements"
    status = 409
    default_remedy = "install the listed packages, or build a new version here"
