"""Errors at the command line: one line, a remedy, and an exit code by class.

0 done   1 unexpected   2 usage   3 no connection   4 not served   5 invalid input   6 rejected
7 overloaded or unavailable   8 deadline exceeded   9 the handler failed   10 store   11 broker   78 configuration
"""

from __future__ import annotations

import errno
from typing import Final

from headway.bus import errors
from headway.bus.tasks import leaves

CODES: Final[dict[type[BaseException], int]] = {
    errors.HeadwayError: 1,
    errors.UsageError: 2,
    errors.ConnectionFailed: 3,
    errors.NotServed: 4,
    errors.InvalidInput: 5,
    errors.Rejected: 6,
    errors.Overloaded: 7,
    errors.Unavailable: 7,
    errors.DeadlineExceeded: 8,
    errors.RemoteError: 9,
    errors.StoreError: 10,
    errors.BrokerError: 11,
    errors.ConfigError: 78,
}
"""Exit codes by class; a subclass without its own has its parent's. 78 is EX_CONFIG of sysexits.h."""


def code_of(error: BaseException) -> int:
    """Return the exit code of an error: that of its nearest class that has one."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), 1)


def describe(error: errors.HeadwayError) -> str:
    """Return the lines that show an error."""
    return f"error: {error.message}\nfix: {error.remedy}" if error.remedy else f"error: {error.message}"


_SYSTEM: Final = {
    errno.EACCES: "run it as the user that owns {file}, or give it to yours (chown -R)",
    errno.EPERM: "run it as the user that owns {file}, or give it to yours (chown -R)",
    errno.EROFS: "choose a writable directory: --dir",
    errno.ENOSPC: "free some disk space for {file}",
    errno.EDQUOT: "free some quota for {file}",
    errno.EMFILE: "allow more open files: ulimit -n",
    errno.ENFILE: "allow this machine more open files: sysctl fs.file-max",
}
"""Remedies for errors of the operating system, by error number."""


def telling(error: BaseException) -> BaseException:
    """Return the error to report: of a group of errors the first that has an explanation, or else the first."""
    found = [*leaves(error)]
    return next((one for one in found if find(one) is not None), found[0])


def find(error: BaseException) -> errors.HeadwayError | None:
    """Return an exception as a Headway error: itself, or what the operating system refused on a file.

    That is permissions, space, or descriptors. None for other exceptions.
    """
    if isinstance(error, errors.HeadwayError):
        return error
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        file = str(error.filename or "the file")
        return errors.UsageError(f"{file}: {error.strerror}", remedy=_SYSTEM[error.errno].format(file=file))
    return None
