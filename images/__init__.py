"""Immutable images of versions: build them from source, store, label and verify them, import services from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.images import build, docker, store
    from headway.images.errors import ImageChanged, ImageError, ImageInUse, NoImage
    from headway.images.image import Manifest, Schemas

__all__ = [
    "ImageChanged",
    "ImageError",
    "ImageInUse",
    "Manifest",
    "NoImage",
    "Schemas",
    "build",
    "docker",
    "store",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "": ("build", "docker", "store"),
            "errors": ("ImageChanged", "ImageError", "ImageInUse", "NoImage"),
            "image": ("Manifest", "Schemas"),
        },
    )
