"""Output shared by `headway backup create` and `restore`."""

from __future__ import annotations

from datetime import datetime

import click

from headway.backup import archive
from headway.backup.archive import BackupManifest
from headway.broker.identity import KEY_FILE


def told(manifest: BackupManifest) -> str:
    """Return the contents of a backup in one line."""
    messages = sum(stream.messages for stream in manifest.streams.values())
    when = datetime.fromtimestamp(manifest.at).astimezone()
    keys = "with keys" if f"{archive.DATA}/{KEY_FILE}" in manifest.files else "without keys"
    return f"{messages:,} messages in {len(manifest.streams)} streams, {keys}, of {when:%Y-%m-%d %H:%M}"


def say(line: str) -> None:
    """Print a line of progress on standard error."""
    click.echo(f"  {line}", err=True)
