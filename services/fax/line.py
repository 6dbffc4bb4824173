"""A simulated telephone line. Its behavior depends only on fax, dial and seed, so that it is reproducible.

To use a real line, replace `Line`: the handlers only use `dial` and `send_page`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from enum import StrEnum

from headway import HeadwayError, Reject

from .models import FaxConfig

_DIAL = 8.0
"""Seconds from dialling to the receiver's tone."""
_RING = 30.0
"""Seconds of ringing before a dial counts as not answered."""
_HANDSHAKE = 4.0
"""Seconds between two pages: training and confirmation."""

_SEPARATORS = re.compile(r"[ ().\-/]")
_NUMBER = re.compile(r"\+?[0-9]{3,15}")


class LineError(HeadwayError):
    """The receiver was not reached; a later dial may reach it."""

    code = "line"
    default_remedy = "it is retried automatically"


class Answer(StrEnum):
    """The result of a dial."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no answer"


def number(text: str) -> str:
    """Return a telephone number without separators: 3 to 15 digits (E.164), after a `+` if it is international.

    Raises:
        Reject: if it is not a telephone number.
    """
    digits = _SEPARATORS.sub("", text)
    if _NUMBER.fullmatch(digits) is None:
        raise Reject(f"{text!r} is not a telephone number", remedy="give 3 to 15 digits, such as +49 30 123456")
    return digits


def answer(fax: str, dial: int, config: FaxConfig) -> Answer:
    """Return the result of the nth dial for a fax."""
    digest = hashlib.sha256(f"{config.seed}:{fax}:{dial}".encode()).digest()
    luck = int.from_bytes(digest[:8], "big") / 2**64
    if luck < config.busy_share:
        return Answer.BUSY
    if luck < config.busy_share + config.no_answer_share:
        return Answer.NO_ANSWER
    return Answer.ANSWERED


def dial_seconds(met: Answer, config: FaxConfig) -> float:
    """Return the seconds that a dial takes."""
    return (_RING if met is Answer.NO_ANSWER else _DIAL) / config.speed


def page_seconds(size: int, config: FaxConfig) -> float:
    """Return the seconds that a page of `size` bytes takes."""
    return (_HANDSHAKE + size * 8 / config.bits_per_second) / config.speed


class Line:
    """One worker's access to the telephone network."""

    def __init__(self, config: FaxConfig) -> None:
        self._config = config

    async def dial(self, fax: str, dial: int) -> None:
        """Dial and wait for the receiver's tone.

        Raises:
            LineError: if the receiver is busy or does not answer.
        """
        met = answer(fax, dial, self._config)
        await asyncio.sleep(dial_seconds(met, self._config))
        if met is not Answer.ANSWERED:
            raise LineError(met.value)

    async def send_page(self, size: int) -> None:
        """Send a page and wait for its confirmation."""
        await asyncio.sleep(page_seconds(size, self._config))
