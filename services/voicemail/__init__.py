"""Voicemail: recordings and missed calls. Serve it with `headway worker headway.services.voicemail:voicemail`."""

from .models import (
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
from .voicemail import voicemail

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
