"""The reference services. Each is a package of its own that uses `bus` and nothing else of ours: copy one to begin."""

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
