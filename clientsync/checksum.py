"""A checksum over a set of objects that does not depend on their order, so both sides can update it incrementally.

It is the sum, modulo 2^64, of the first eight bytes of SHA-256 over `<type>.<id>.<sequence>` of each object. A sum of
hashes does not protect against forged objects; it detects accidental losses.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MODULUS: Final = 1 << 64


def digest(type_: str, id_: str, seq: int) -> int:
    """Return the contribution of one object."""
    return int.from_bytes(hashlib.sha256(f"{type_}.{id_}.{seq}".encode()).digest()[:8], "big")


class Checksum:
    """A set of objects and their revisions, with count and sum.

    Attributes:
        seqs: revision by type and id.
    """

    __slots__ = ("_sum", "seqs")

    def __init__(self) -> None:
        self.seqs: dict[tuple[str, str], int] = {}
        self._sum = 0

    def put(self, type_: str, id_: str, seq: int) -> None:
        """Add an object, or change its revision."""
        self.drop(type_, id_)
        self.seqs[type_, id_] = seq
        self._sum += digest(type_, id_, seq)

    def drop(self, type_: str, id_: str) -> None:
        """Remove an object, if it is in the set."""
        seq = self.seqs.pop((type_, id_), None)
        if seq is not None:
            self._sum -= digest(type_, id_, seq)

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.seqs)

    @property
    def sum(self) -> int:
        """The checksum, from 0 to 2^64 - 1."""
        return self._sum % _MODULUS
