"""Facts about this machine: modes of secret files, expiry of credentials, free disk space."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from headway.broker.errors import BadIdentity
from headway.broker.identity import KEY_FILE, Identities, has_data, user_of
from headway.doctor.facts import CredentialFacts, Disk, Secret


def look(directory: Path, used: str | None) -> tuple[tuple[Secret, ...], tuple[CredentialFacts, ...], tuple[Disk, ...]]:
    """Collect facts about a data directory and the credentials in use.

    Args:
        directory: the data directory; it need not exist.
        used: path of the credentials of this connection.
    """
    paths = sorted((directory / "creds").glob("*.creds"))
    chosen = None if used is None else Path(used)
    if chosen is not None and chosen.resolve() not in {path.resolve() for path in paths}:
        paths.append(chosen)
    same = None if chosen is None else chosen.resolve()
    ours = _identities(directory)
    return (
        tuple(_secrets(directory, paths)),
        tuple(
            _credentials(path, ours if path.parent == directory / "creds" else None, used=path.resolve() == same)
            for path in paths
        ),
        tuple(_disks(directory)),
    )


def _secrets(directory: Path, credentials: list[Path]) -> Iterator[Secret]:
    for path in (directory / KEY_FILE, *credentials):
        if path.is_file():
            yield Secret(str(path), path.stat().st_mode)
    store = directory / "nats"
    if store.is_dir():
        yield Secret(f"{store}/", store.stat().st_mode)


def _identities(directory: Path) -> Identities | None:
    """Return the keys of the installation, if they are available and usable."""
    try:
        return Identities.load(directory) if (directory / KEY_FILE).is_file() else None
    except BadIdentity:
        return None


def keys(directory: Path) -> tuple[str, str] | tuple[()]:
    """Return why the keys of a data directory cannot be used, and a remedy; empty if they can."""
    if not has_data(directory) and not (directory / KEY_FILE).is_file():
        return ()
    try:
        Identities.load(directory)
    except BadIdentity as error:
        return error.message, error.remedy or ""
    return ()


def _credentials(path: Path, identities: Identities | None, *, used: bool) -> CredentialFacts:
    """Return the facts about a credentials file; `identities` are the keys that should have made it."""
    try:
        claims = user_of(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        return CredentialFacts(str(path), used=used, problem=f"cannot be read: {error}")
    except BadIdentity as error:
        return CredentialFacts(str(path), used=used, problem=error.message)
    foreign = identities is not None and not identities.issued(claims)
    return CredentialFacts(str(path), expires=float(claims.exp) if claims.exp else None, used=used, foreign=foreign)


def _disks(directory: Path) -> Iterator[Disk]:
    store = directory / "nats"
    if store.is_dir():
        usage = shutil.disk_usage(store)
        yield Disk(str(store), usage.free, usage.total)
