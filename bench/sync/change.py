"""The change that is delivered: the object of a running fax, with the time it was sent."""

from __future__ import annotations

import time
from typing import Any, Final

TENANT: Final = "bench"
TYPE: Final = "fax"

SENT: Final = b'"sent":'
"""Marks the time of sending: nanoseconds of the clock that all processes share, followed by `}`."""
LONGEST: Final = 40
"""Most bytes from the mark to the end of the change."""


def fax(number: int) -> dict[str, Any]:
    """Return an object as the service `fax` writes it, about 250 bytes of JSON."""
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
