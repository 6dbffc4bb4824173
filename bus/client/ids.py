"""Unique ids of workers and errors, and message ids that nobody can guess who does not have the secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

from headway.bus.wire import headers

_ALPHABET: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = bytes(_ALPHABET[n % len(_ALPHABET)] for n in range(256))
_LENGTH: Final = 22
_MAC: Final = 24
"""Hexadecimal digits of a code: 96 bits."""
_MOST_TENANTS: Final = 4096

BLOCK: Final = "HEADWAY MESSAGE IDS"
"""Name of the block with the secret in a `.creds` file. NATS clients ignore it, and it is not sent to the server."""
_SECRET: Final = re.compile(rf"BEGIN {BLOCK}-+\s*(root|tenant):([0-9a-f]+)\s")


def unique_id() -> str:
    """Return a fresh random id of 22 letters and digits."""
    return os.urandom(_LENGTH).translate(_DIGITS).decode()


def tenant_secret(root: bytes, tenant: str) -> bytes:
    """Return the secret of a tenant's message ids."""
    return hmac.digest(root, f"tenant {tenant}".encode(), hashlib.sha256)


class MessageIds:
    """Makes message ids, and proves headers that only Headway may set.

    JetStream keeps message ids by stream, not by tenant. Who guesses the next id of another tenant can have that
    tenant's message taken for a duplicate. So ids end in a code that is made with a secret.

    Args:
        secret: the installation's, or that of one tenant.
        root: whether it is the installation's, from which those of all tenants are derived.
    """

    __slots__ = ("_root", "_secret", "_tenants")

    def __init__(self, secret: bytes = b"", *, root: bool = True) -> None:
        self._secret = secret
        self._root = root
        self._tenants: dict[str, bytes] = {}

    @classmethod
    def of(cls, creds: str) -> MessageIds:
        """Return the ids of a user, given the text of its `.creds` file.

        Files of earlier versions have no secret. Their users get one made of the whole file, which nobody else has.
        """
        found = _SECRET.search(creds)
        if found is None:
            return cls(hashlib.sha256(creds.encode()).digest(), root=False)
        return cls(bytes.fromhex(found[2]), root=found[1] == "root")

    @property
    def prefix(self) -> str:
        """A secret text that a plain NATS client puts before its own message ids."""
        return _code(self._secret, "prefix")

    def keyed(self, tenant: str, name: str, key: str) -> str:
        """Return the message id of a publisher's idempotency key.

        Args:
            tenant: the tenant.
            name: the operation or event type.
            key: the key, from `subjects.key_token`.
        """
        text = f"{tenant}.{name}.{key}"
        return f"{text}.{_code(self._of(tenant), text)}"

    def own(self, text: str) -> str:
        """Return the message id of a message that Headway itself stores again: always the same for the same text.

        It is as long as that of a new message, so that a message at the server's limit of size fits again.
        """
        return _code(self._secret, f"own {text}")[:_LENGTH]

    def prove(self, tenant: str, *values: str) -> str:
        """Return the proof that headers with these values were set by Headway."""
        return _code(self._secret, "\0".join(["proof", tenant, *values]))

    def proven(self, proof: str | None, tenant: str, *values: str) -> bool:
        """Return whether a proof is that of these values."""
        return proof is not None and hmac.compare_digest(proof.encode(), self.prove(tenant, *values).encode())

    def moved(self, fields: Mapping[str, str] | None, tenant: str, stored: str, message_id: str) -> dict[str, str]:
        """Return the headers of a job that is stored again elsewhere: a new message id, and its former id.

        Received headers that a client cannot send are dropped, because the job matters more.

        Args:
            fields: its headers, as they were received.
            tenant: its tenant.
            stored: its id if the headers have none: stream and sequence.
            message_id: the new message id.
        """
        received = fields or {}
        kept, _ = headers.sendable(headers.passed_on(received)) if received else ({}, {})
        known, proof = kept.pop(headers.ID, ""), kept.pop(headers.PROOF, "")
        if not self.proven(proof, tenant, known, ""):
            known = headers.clean(received.get(headers.MESSAGE_ID, "")) or stored
        proof = self.prove(tenant, known, "")
        return {**kept, headers.MESSAGE_ID: message_id, headers.ID: known, headers.PROOF: proof}

    def _of(self, tenant: str) -> bytes:
        if not self._root:
            return self._secret
        known = self._tenants.get(tenant)
        if known is None:
            if len(self._tenants) >= _MOST_TENANTS:
                self._tenants.clear()
            known = self._tenants[tenant] = tenant_secret(self._secret, tenant)
        return known


def _code(secret: bytes, text: str) -> str:
    return hmac.digest(secret, text.encode(), hashlib.sha256).hex()[:_MAC]
