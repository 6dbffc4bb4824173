"""The reference services. Each is a separate package that uses only `bus` of Headway: copy one to start your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.services import calls, fax, voicemail

__all__ = [
    "calls",
    "fax",
    "voicemail",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "": ("calls", "fax", "voicemail"),
        },
    )
