"""The content of a mailbox: pure changes of the object `mailbox/<id>`."""

from __future__ import annotations

import hashlib
from typing import Literal

from headway import Reject

from .models import Entry, Mailbox, Page

_LONGEST_ID = 63


def added(
    mailbox: Mailbox,
    message: str,
    kind: Literal["voicemail", "missed_call"],
    caller: str,
    at: float,
    seconds: float,
    room: int,
) -> Mailbox:
    """Return a mailbox with one more entry on top, or unchanged if it already has the message.

    Raises:
        Reject: if it already has `room` entries.
    """
    if find(mailbox, message) is not None:
        return mailbox
    if len(mailbox.entries) >= room:
        raise Reject(f"mailbox {mailbox.mailbox} is full: {room} messages", remedy="delete some")
    number = mailbox.next_number
    entry = Entry(number=number, message=message, kind=kind, caller=caller, at=at, seconds=seconds)
    return _counted(mailbox, [entry, *mailbox.entries], number + 1)


def marked(mailbox: Mailbox, message: str, *, heard: bool) -> Mailbox:
    """Return a mailbox with one message marked.

    Raises:
        Reject: if the mailbox does not have it.
    """
    if find(mailbox, message) is None:
        raise Reject(f"mailbox {mailbox.mailbox} has no message {message}", remedy="`list` shows what it has")
    entries = [e.model_copy(update={"heard": heard}) if e.message == message else e for e in mailbox.entries]
    return _counted(mailbox, entries, mailbox.next_number)


def without(mailbox: Mailbox, message: str) -> Mailbox:
    """Return a mailbox without a message, which may already be missing."""
    return _counted(mailbox, [e for e in mailbox.entries if e.message != message], mailbox.next_number)


def find(mailbox: Mailbox, message: str) -> Entry | None:
    """Return the entry of a message; None if there is none."""
    return next((entry for entry in mailbox.entries if entry.message == message), None)


def page(mailbox: Mailbox, limit: int, before: int | None) -> Page:
    """Return the newest entries, or those before one. New and deleted entries do not shift the pages."""
    rest = [entry for entry in mailbox.entries if before is None or entry.number < before]
    shown = rest[:limit]
    return Page(
        mailbox=mailbox.mailbox,
        total=len(mailbox.entries),
        unheard=mailbox.unheard,
        entries=shown,
        next=shown[-1].number if len(rest) > limit else None,
    )


def missed_call_id(call: str) -> str:
    """Return the message id of a missed call, which is the same for repeated events."""
    plain = f"missed-{call}"
    return plain if len(plain) <= _LONGEST_ID else f"missed-{hashlib.sha256(call.encode()).hexdigest()[:40]}"


def _counted(mailbox: Mailbox, entries: list[Entry], next_number: int) -> Mailbox:
    unheard = sum(not entry.heard for entry in entries)
    return Mailbox(mailbox=mailbox.mailbox, unheard=unheard, next_number=next_number, entries=entries)
