"""What the commands on the audit log share."""

from __future__ import annotations

import orjson

from headway.control.audit import Logged


def line(logged: Logged) -> str:
    """Return an entry as one JSON object."""
    entry = None if logged.entry is None else logged.entry.model_dump()
    return orjson.dumps({"seq": logged.seq, "at": logged.at.isoformat(), "entry": entry}).decode()
