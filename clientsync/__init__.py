"""Client sync keeps browsers up to date: sessions, pulls of changes, beacons, presence. browser/ is the client side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.clientsync import server
    from headway.clientsync.errors import BadRequest, NotAllowed, NotSignedIn
    from headway.clientsync.server import Options
    from headway.clientsync.web.guard import Guard
    from headway.clientsync.web.sessions import Sessions
    from headway.clientsync.web.tokens import Rules, SignedIn, Verifier

__all__ = [
    "BadRequest",
    "Guard",
    "NotAllowed",
    "NotSignedIn",
    "Options",
    "Rules",
    "Sessions",
    "SignedIn",
    "Verifier",
    "server",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "": ("server",),
            "errors": ("BadRequest", "NotAllowed", "NotSignedIn"),
            "server": ("Options",),
            "web.guard": ("Guard",),
            "web.sessions": ("Sessions",),
            "web.tokens": ("Rules", "SignedIn", "Verifier"),
        },
    )
