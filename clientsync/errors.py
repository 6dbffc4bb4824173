"""What can go wrong between a page and client sync; each with one clear line and a remedy.

ClientSyncError
├── BadRequest      a request does not say what it should
├── NotSignedIn     the application's token is missing, expired or not to be trusted
└── NotAllowed      the token is good, but this is not for its owner
"""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class ClientSyncError(HeadwayError):
    """Base of what goes wrong between a page and client sync."""

    code = "client_sync"


class BadRequest(ClientSyncError):
    """A request does not say what it should; the same one can never succeed."""

    code = "bad_request"
    status = 400


class NotSignedIn(ClientSyncError):
    """The application's token is missing, expired, or not to be trusted."""

    code = "not_signed_in"
    status = 401
    default_remedy = "sign in to the application again"


class NotAllowed(ClientSyncError):
    """The application's token is good, but what was asked is not for its owner."""

    code = "not_allowed"
    status = 403
