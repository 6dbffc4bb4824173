"""The work of the demo: identical each time, so that the expected results are known."""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

TENANTS: Final = ("acme", "globex", "initech", "umbrella")
SKILLS: Final = ("sales", "support")
AGENTS: Final = 3
"""Agents of each tenant. They have all skills except `NOBODY`."""
NOBODY: Final = "nobody"
"""A skill that no agent has: such a caller waits and hangs up, and the missed call appears in the mailbox."""
BAD_NUMBER: Final = "not-a-number"

_RATE: Final = 8000


@dataclass(frozen=True, slots=True)
class Job:
    """A durable job.

    Attributes:
        service, operation, tenant: its destination.
        id: of the object it leaves, and its idempotency key.
        request: its payload.
        hopeless: whether it must end as a dead letter.
    """

    service: str
    operation: str
    tenant: str
    id: str
    request: dict[str, Any]
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller. One with the skill `NOBODY` hangs up while waiting."""

    tenant: str
    id: str
    skill: str

    @property
    def gives_up(self) -> bool:
        """Return whether the call is missed on purpose."""
        return self.skill == NOBODY


def faxes(count: int) -> list[Job]:
    """Return the faxes, `count` for each tenant. The last one of each has a number that cannot be dialled."""
    found = []
    for n in range(count):
        for tenant in TENANTS:
            hopeless = n == count - 1
            request = {
                "fax": f"fax-{n}",
                "to": BAD_NUMBER if hopeless else f"+49 30 {100000 + n}",
                "from": "+49 30 999",
                "text": f"Dear customer of {tenant},\n\nthis is letter number {n}.\n",
            }
            found.append(Job("fax", "send", tenant, request["fax"], request, hopeless))
    return found


def recordings(count: int) -> list[Job]:
    """Return the voicemails, `count` for each tenant."""
    return [
        Job(
            "voicemail",
            "deposit",
            tenant,
            f"voice-{n}",
            {
                "message": f"voice-{n}",
                "mailbox": mailbox(n),
                "caller": "+49 30 999",
                "data": _tone(),
            },
        )
        for n in range(count)
        for tenant in TENANTS
    ]


def callers(count: int) -> list[Caller]:
    """Return the callers, `count` for each tenant. The last one of each asks for a skill that no agent has."""
    return [
        Caller(tenant, f"call-{n}", NOBODY if n == count - 1 else SKILLS[n % len(SKILLS)])
        for n in range(count)
        for tenant in TENANTS
    ]


def mailbox(n: int) -> str:
    """Return the mailbox of the nth voicemail."""
    return f"box-{n % 2}"


@cache
def _tone(seconds: float = 0.5, hertz: float = 440) -> str:
    """Return a WAV file in base64."""
    samples = (int(12000 * math.sin(2 * math.pi * hertz * i / _RATE)) for i in range(int(seconds * _RATE)))
    frames = b"".join(struct.pack("<h", sample) for sample in samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(frames)
    return base64.b64encode(buffer.getvalue()).decode()
