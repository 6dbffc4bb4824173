"""The change that travels: an object of a fax under way, and when it was sent."""

from __future__ import annotations

import time
from typing import Any, Final

TENANT: Final = "bench"
TYPE: Final = "fax"

SENT: Final = b'"sent":'
"""Behind this stands when a change was sent, in nanoseconds of the clock that all processes share, and `}`."""
LONGEST: Final = 40
"""Bytes from there to the end of the change, at most."""


def fax(number: int) -> dict[str, Any]:
    """An object as the service `fax` writes it, about 250 bytes of JSON."""
    return {
        "fax": f"fax-{number}",
        "to": f"+49 30 {900_000 + number}",
        "sender": "+49 30 901820",
        "state": "sending",
        "digest": "d41d8cd98f00b204e9800998ecf8427e",
        "page": number % 7,
        "pages": 7,
        "sizes": [31_204, 28_118, 30_552],
        "dials": 1,
        "document": f"fax/fax-{number}.tiff",
        "reason": None,
        "at": 1_795_655_639.883,
        "sent": time.perf_counter_ns(),
    }
