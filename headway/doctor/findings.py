"""The findings of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""An error is broken now, a warning will or may break, a note is good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem.

    Attributes:
        code: stable, for programs.
        subject: a server, a stream, a version or a file.
        what: the problem, with the relevant numbers.
        fix: what to do.
    """

    severity: Severity
    code: str
    subject: str
    what: str
    fix: str = ""


def error(code: str, subject: str, what: str, fix: str) -> Finding:
    """Return a finding about something that is broken now."""
    return Finding("error", code, subject, what, fix)


def warning(code: str, subject: str, what: str, fix: str) -> Finding:
    """Return a finding about something that will break, or may."""
    return Finding("warning", code, subject, what, fix)


def note(code: str, subject: str, what: str, fix: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding("note", code, subject, what, fix)
