"""Numbers and foreign text as people read them in a terminal: counts, latencies, escaped control characters."""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that a terminal obeys or does not show."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 worker`, `2 workers`, `1,200 faxes` for `fax`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def short(number: int) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.1M."""
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.1f}k" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def milliseconds(value: float | None) -> str:
    """Return a latency, given in milliseconds, in at most six characters: 0.4ms, 120ms, 3.2s."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.1f}ms"
    return f"{value:.0f}ms" if value < 1000 else f"{value / 1000:.1f}s"


def cut(text: str, width: int) -> str:
    """Return a text cut to `width` characters; three dots mark a cut."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return a text whose control characters are escaped, as `\x1b`: text of others must not control the terminal.

    Args:
        text: any text.
        lines: whether line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _HIDDEN and char not in kept else char
        for char in text
    )
