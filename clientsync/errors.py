"""Errors between a page and client sync, each with a clear message and a remedy.

ClientSyncError
├── BadRequest      a request is malformed
├── NotSignedIn     the application's token is missing, expired or not trusted
└── NotAllowed      the token is valid, but its owner may not do this
"""

from __future__ import annotations

from headway.bus.errors import HeadwayError


class ClientSyncError(HeadwayError):
    """Base class of errors between a page and client sync."""

    code = "client_sync"


class BadRequest(ClientSyncError):
    """A request is malformed; the same one can never succeed."""

    code = "bad_request"
    status = 400


class NotSignedIn(ClientSyncError):
    """The application's token is missing, expired, or not trusted."""

    code = "not_signed_in"
    status = 401
    default_remedy = "sign in to the application again"


class NotAllowed(ClientSyncError):
    """The application's token is valid, but its owner may not do this."""

    code = "not_allowed"
    status = 403
