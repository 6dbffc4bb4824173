"""A checksum over a set of objects that does not depend on their order, so both sides can keep it as they go.

It is the sum, modulo 2^64, of the first eight bytes of SHA-256 over `<type>.<id>.<sequence>` of each object. A sum of
hashes is no proof against somebody who forges objects; it finds what was lost by accident.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MODULUS: Final = 1 << 64


def digest(type_: str, id_: str, seq: int) -> int:
    """What one object adds."""
    return int.from_bytes(hashlib.sha256(f"{type_}.{id_}.{seq}".encode()).digest()[:8], "big")


class Checksum:
    """Objects and their revisions, with count and sum.

    Attributes:
        seqs: revision by type and id.
    """

    __slots__ = ("_sum", "seqs")

    def __init__(self) -> None:
        self.seqs: dict[tuple[str, str], int] = {}
        self._sum = 0

    def put(self, type_: str, id_: str, seq: int) -> None:
        """An object is there, at this revision."""
        self.drop(type_, id_)
        self.seqs[type_, id_] = seq
        self._sum += digest(type_, id_, seq)

    def drop(self, type_: str, id_: str) -> None:
        """An object is not there."""
        seq = self.seqs.pop((type_, id_), None)
        if seq is not None:
            self._sum -= digest(type_, id_, seq)

    @property
    def count(self) -> int:
        """How many objects there are."""
        return len(self.seqs)

    @property
    def sum(self) -> int:
        """The sum, from 0 to 2^64 - 1."""
        return self._sum % _MODULUS
