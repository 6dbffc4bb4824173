"""Voicemail: recordings and missed calls. Serve it with `headway worker services.voicemail:voicemail`."""

from services.voicemail.models import (
    Chunk,
    Deposit,
    Fetch,
    ListMessages,
    Mailbox,
    MarkHeard,
    Message,
    MessageRef,
    Page,
    VoicemailConfig,
)
from services.voicemail.voicemail import voicemail

__all__ = [
    "Chunk",
    "Deposit",
    "Fetch",
    "ListMessages",
    "Mailbox",
    "MarkHeard",
    "Message",
    "MessageRef",
    "Page",
    "VoicemailConfig",
    "voicemail",
]
