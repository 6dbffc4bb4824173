"""A data directory that belongs to somebody else: one clear line, whatever the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headway.broker.identity import Identities

_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(_ROOT and shutil.which("setpriv") is None, reason="root may read everything")


def headway(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command without the right to read what is somebody else's."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if _ROOT else []
    command = [*drop, sys.executable, "-m", "headway", *arguments, "--dir", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def foreign(tmp_path):
    """A data directory whose files only somebody else may read."""
    directory = tmp_path / "data"
    Identities.create_or_load(directory).creds_file("operator")
    (directory / "account.lock").touch(mode=0o600)
    for path in (*directory.rglob("*"), directory):
        if _ROOT:
            os.chown(path, 65534, 65534)
        elif path.is_file():
            path.chmod(0)
    directory.chmod(0o755)
    yield directory
    for path in directory.rglob("*"):
        path.chmod(0o700)


@pytest.mark.parametrize(
    "command",
    [
        ("up", "headway.services.fax:fax"),
        ("backup", "somewhere.tar"),
        ("scaler",),
        ("deployer",),
        ("init", "--node", "nats"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_says_in_a_line_that_the_directory_is_not_ours(foreign, command):
    done = headway(foreign, *command)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Permission denied" in told or "not readable" in told
    assert "owns" in told
    assert "Traceback" not in told
    assert "unexpected" not in told
