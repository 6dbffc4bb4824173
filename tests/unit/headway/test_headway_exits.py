"""What the operating system refuses leaves the command line as a line with a remedy."""

from __future__ import annotations

import errno
import os

import pytest

from headway import exits


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "chown"),
        (errno.EROFS, "--dir"),
        (errno.ENOSPC, "free some disk space"),
        (errno.EMFILE, "ulimit"),
    ],
)
def test_a_refusal_of_the_system_names_the_file_and_what_to_do(number, remedy):
    refused = OSError(number, os.strerror(number), "/data/keys.json")
    found = exits.find(exits.telling(ExceptionGroup("several", [ValueError(), refused])))
    assert found is not None
    assert found.message == f"/data/keys.json: {os.strerror(number)}"
    assert remedy in str(found.remedy)
    assert exits.code_of(found) == 2


def test_any_other_error_of_the_system_is_unexpected():
    assert exits.find(OSError(errno.EIO, "Input/output error", "/data")) is None
