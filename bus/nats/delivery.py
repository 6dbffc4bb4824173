"""One delivery of a JetStream consumer, and the replies that acknowledge it.

The metadata of a delivery is in its reply subject (ADR-15), in one of two forms:

    $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<unix ns>.<pending>
    $JS.ACK.<domain>.<account hash>.<stream>. ... .<pending>[.<random>]
"""

from __future__ import annotations

from typing import Final, NamedTuple

ACK: Final = b"+ACK"
IN_PROGRESS: Final = b"+WPI"
NAK: Final = b"-NAK"

_V1_TOKENS = 9
_V2_TOKENS = 11


class Delivery(NamedTuple):
    """Metadata of a delivery: `delivered` is 1 the first time, `pending` is what the consumer still holds."""

    stream: str
    consumer: str
    delivered: int
    sequence: int
    pending: int


def read(reply: str) -> Delivery | None:
    """Read a delivery's reply subject; None if it is not one."""
    parts = reply.split(".")
    if len(parts) == _V1_TOKENS and parts[1] == "ACK":
        # Not Delivery(...): its generated constructor costs as much as the rest of this hot path.
        return tuple.__new__(Delivery, (parts[2], parts[3], int(parts[4]), int(parts[5]), int(parts[8])))
    if len(parts) >= _V2_TOKENS and parts[1] == "ACK":
        return Delivery(parts[4], parts[5], int(parts[6]), int(parts[7]), int(parts[10]))
    return None


def copy_id(why: str, reply: str) -> str:
    """Return the message id of the one copy that may be made of a delivered message.

    It is the same for each delivery, and nobody can guess it who has not received the message: it contains the
    nanosecond at which the server stored the message. Otherwise a client could use the id first, and the copy would be
    taken for a duplicate.

    Args:
        why: what makes the copy; the id begins with it.
        reply: the reply subject of a delivery.
    """
    parts = reply.split(".")
    stream, sequence, at = (2, 5, 7) if len(parts) == _V1_TOKENS else (4, 7, 9)
    return f"{why}.{parts[stream]}.{parts[sequence]}.{parts[at]}"


def nak(delay: float) -> bytes:
    """Return the reply that asks for redelivery after `delay` seconds."""
    return b'-NAK {"delay":%d}' % int(delay * 1e9) if delay > 0 else NAK


def term(reason: str) -> bytes:
    """Return the reply that ends redelivery. The server's advisory contains the reason."""
    return b"+TERM " + reason.encode()[:256]
