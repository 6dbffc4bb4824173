"""Key files and credentials: what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from headway.doctor.facts import Facts
from headway.doctor.findings import Finding, error, warning

SOON: Final = 7 * 86_400.0
"""Seconds before its expiry from which a credential is reported."""


def permissions(facts: Facts) -> Iterator[Finding]:
    """Find secrets that others may read."""
    for secret in facts.secrets:
        if secret.mode & 0o077:
            octal = "700" if secret.path.endswith("/") else "600"
            what = f"others may read it (mode {secret.mode & 0o777:o})"
            yield error("readable", secret.path, what, f"chmod {octal} {secret.path}")


def keys(facts: Facts) -> Iterator[Finding]:
    """Find keys that are damaged, missing, or do not belong to the data beside them."""
    if facts.keys:
        what, fix = facts.keys
        yield error("keys-unusable", "keys", what, fix)


def credentials(facts: Facts) -> Iterator[Finding]:
    """Find credentials that have expired or soon will, or belong to another installation."""
    for one in facts.credentials:
        used = ", which is in use here" if one.used else ""
        if one.problem:
            yield error("credentials-unreadable", one.path, one.problem + used, "create it again, or delete it")
        elif one.foreign:
            what = f"belongs to another installation, or was made before clients had an account of their own{used}"
            yield error(
                "credentials-foreign", one.path, what, "create it again, or name the data directory it belongs to"
            )
        elif one.expires is not None and one.expires <= facts.at:
            what = f"expired at {_when(one.expires)}{used}: servers refuse it"
            yield error("credentials-expired", one.path, what, "create it again, or delete it")
        elif one.expires is not None and one.expires <= facts.at + SOON:
            left = (one.expires - facts.at) / 3600
            until = f"{left:.0f} hours" if left < 48 else f"{left / 24:.0f} days"
            what = f"expires in {until}, at {_when(one.expires)}{used}"
            yield warning("credentials-expire", one.path, what, "create it again before then")


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
