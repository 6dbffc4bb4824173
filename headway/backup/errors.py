"""Errors of saving and restoring; each with one clear line and a remedy.

headway.bus.errors.BrokerError
├── SnapshotFailed   a stream cannot be saved whole, or not be made of what was saved
├── BadBackup        a backup is damaged, not complete, or none
└── NotEmpty         something is there that a restore would replace
"""

from __future__ import annotations

from headway.bus.errors import BrokerError


class SnapshotFailed(BrokerError):
    """A stream could not be saved completely, or could not be restored."""

    code = "snapshot_failed"
    default_remedy = "check the server's log and its free disk space, then try again"


class BadBackup(BrokerError):
    """A backup is damaged, incomplete, or not a Headway backup. Nothing was changed."""

    code = "bad_backup"
    default_remedy = "use another backup"


class NotEmpty(BrokerError):
    """The restore would replace existing data. Nothing was changed."""

    code = "not_empty"
    status = 409
    default_remedy = "choose another target, or add --replace"
