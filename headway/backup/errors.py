"""Errors of saving and restoring; each with one clear line and a remedy.

headway.bus.errors.BrokerError
├── SnapshotFailed   a stream cannot be saved whole, or not be made of what was saved
├── BadBackup        a backup is damaged, not complete, or none
└── NotEmpty         something is there that a restore would replace
"""

from __future__ import annotations

from headway.bus.errors import BrokerError


class SnapshotFailed(BrokerError):
    """A stream could not be saved completely, or not restored."""

    code = "snapshot_failed"
    default_remedy = "look at the server's log and the room on its disk, and repeat"


class BadBackup(BrokerError):
    """A backup is damaged, incomplete, or not one of ours. Nothing was changed."""

    code = "bad_backup"
    default_remedy = "use another backup"


class NotEmpty(BrokerError):
    """The restore would replace something that is there already. Nothing was changed."""

    code = "not_empty"
    status = 409
    default_remedy = "name another place, or say --replace"
