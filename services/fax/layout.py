"""Break text into lines and pages. Pure: the caller measures the width of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

Measure = Callable[[str], float]

_TAB = 8


def wrap(text: str, width: float, measure: Measure) -> list[str]:
    """Break one paragraph into lines no wider than `width`.

    Breaks at spaces; a word wider than a line is cut. A single character wider than a line gets its own line.

    Args:
        text: text without line breaks.
        width: width of a line, in the unit of `measure`.
        measure: returns the width of a text.
    """
    lines: list[str] = []
    line: str | None = None
    for word in text.expandtabs(_TAB).split(" "):
        longer = word if line is None else f"{line} {word}"
        if measure(longer) <= width:
            line = longer
            continue
        if line is not None and line.strip():
            lines.append(line.rstrip())
        *full, line = _cut(word, width, measure)
        lines += full
    return [*lines, (line or "").rstrip()]


def _cut(word: str, width: float, measure: Measure) -> list[str]:
    """Cut a word into the longest pieces that fit, of at least one character each."""
    pieces: list[str] = []
    while measure(word) > width and len(word) > 1:
        low, high = 1, len(word) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if measure(word[:middle]) <= width else (low, middle - 1)
        pieces.append(word[:low])
        word = word[low:]
    return [*pieces, word]


def paginate(text: str, width: float, measure: Measure, per_page: int) -> Iterator[list[str]]:
    """Break a text into pages of at most `per_page` lines; a form feed starts a new one.

    Args:
        text: text with line breaks of any kind.
        width: width of a line, in the unit of `measure`.
        measure: as for `wrap`.
        per_page: lines per page, at least 1.
    """
    for sheet in text.rstrip().split("\f"):
        lines = (line for paragraph in sheet.splitlines() or [""] for line in wrap(paragraph, width, measure))
        page = list(islice(lines, per_page))
        while page:
            yield page
            page = list(islice(lines, per_page))
