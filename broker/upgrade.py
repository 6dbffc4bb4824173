"""Upgrades an installation of an earlier version.

Clients used to be users of the application account; since they have their own account, their old credentials are
refused. Operators' credentials used not to reach control's account, which there was none of. Credentials in the data
directory are renewed in place; copies elsewhere have to be replaced by hand.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import orjson

from headway.broker import atomic
from headway.broker.errors import BadIdentity
from headway.broker.identity import CLIENTS_KEY, CONTROL_KEY, KEY_FILE, Identities, user_of
from headway.broker.roles import TAGS, Role


def upgrade(directory: Path) -> str | None:
    """Upgrade a data directory. If it is interrupted, the next call does the rest.

    Running servers learn of it by the next change of routes, which `headway apply` and `headway up` make.

    Args:
        directory: the data directory; it need not exist.

    Returns:
        a one-line notice for the operator; None if there was nothing to do.

    Raises:
        BadIdentity: if its keys cannot be used.
    """
    file = directory / KEY_FILE
    if not file.exists():
        return None
    identities = Identities.create_or_load(directory)
    keys = orjson.loads(file.read_bytes())
    new = {account: roles for account, roles in _NEW.items() if account not in keys}
    if not new:
        return None
    roles = [role for found in new.values() for role in found]
    files = sorted((directory / "creds").glob("*.creds"))
    renewed = [path.name for path in files if any(_renewed(identities, path, role) for role in roles)]
    identities.store(directory, identities.complete(keys))
    here = f"{', '.join(renewed)} renewed, " if renewed else ""
    return (
        f"there are new accounts, for {' and '.join(new)}: {here}older credentials of the role {' or '.join(roles)} "
        "are refused; replace them where they are used (docs/reference/roles.md#accounts)"
    )


_NEW: Final[dict[str, tuple[Role, ...]]] = {CLIENTS_KEY: ("client",), CONTROL_KEY: ("operator", "control", "worker")}
"""Accounts that earlier versions lack, and the roles whose credentials are renewed for them."""


def _renewed(identities: Identities, path: Path, role: Role) -> bool:
    """Renew the credentials of a role, same tenant or service, name and expiry; False if they are something else."""
    try:
        old = user_of(path.read_text())
    except (BadIdentity, OSError, UnicodeDecodeError):
        return False  # `headway doctor` reports it
    tags = dict(tag.split(":", 1) for tag in old.nats.tags if ":" in tag)
    bound = {tag: tags[tag] for tag in ("tenant", "service") if tag in tags}
    left = old.exp - time.time()
    wanted = {TAGS[role]} if role in TAGS else set()
    if old.iss != identities.role_key(role) or bound.keys() != wanted or (old.exp and left <= 0):
        return False
    expires = timedelta(seconds=left) if old.exp else None
    atomic.write(path, identities.creds(role, name=old.name, expires=expires, **bound).encode())
    return True
