"""What a page may ask, and how large that may be. docs/reference/client-sync.md tells it to people."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headway.bus.errors import InvalidInput, InvalidSubject, TooLarge
from headway.bus.wire import subjects
from headway.bus.wire.codec import Codec
from headway.clientsync.errors import BadRequest

MAX_REQUEST: Final = 16 * 1024
"""Bytes of a request; a larger one is refused before it is read."""
MAX_LIMIT: Final = 1000
"""Changes in a reply, at most."""
MAX_REPLY: Final = 256 * 1024
"""Bytes of changes after which a reply is full. The object that passes it is still in it."""
MAX_BASES: Final = 16
"""Objects that one submission may change."""

Token = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=256)]
Scalar = Text | bool | int | float | None
Sequence = Annotated[int, Field(ge=0, lt=1 << 53)]
"""What a page's numbers hold exactly."""

Fields = dict[Token, Annotated[list[Name], Field(max_length=64)]]
Where = dict[Name, Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=16)]]


class Conflict(BaseModel):
    """Two writers met: the second based its change on a revision that the first had replaced.

    Attributes:
        type, id: the object.
        base: the revision that the second writer knew.
        theirs: the revision that it met.
        kept: whose change stands.
        fields: those that both had changed; `*` is the whole object.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Token
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    base: Sequence
    theirs: Sequence
    kept: Literal["first", "second", "merged"]
    fields: Annotated[list[Name], Field(max_length=64)]


class Pull(BaseModel):
    """`sync.<tenant>.pull`: what changed since.

    Attributes:
        types: of which objects; None is all.
        since: what the page has, exclusive.
        epoch: of the stream that `since` counts in.
        base: while a snapshot is being paged, what its first reply said.
        fields: which fields of a type to send; a type that is left out is sent whole.
        where: which objects of a type to send: each field has the value, or one of the values, given.
        limit: changes in the reply, at most.
        checksum: wanted with the last page.
        presence: who is online is wanted instead of changes.
        conflict: told to all pages of the tenant; nothing is answered.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    types: Annotated[list[Token], Field(min_length=1, max_length=16)] | None = None
    since: Sequence = 0
    epoch: Annotated[str, Field(max_length=64)] | None = None
    base: Sequence | None = None
    fields: Annotated[Fields, Field(max_length=16)] | None = None
    where: Annotated[dict[Token, Annotated[Where, Field(max_length=8)]], Field(max_length=16)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 500
    checksum: bool = False
    presence: bool = False
    conflict: Conflict | None = None

    @model_validator(mode="after")
    def _names_its_types(self) -> Self:
        if self.where and not set(self.where) <= set(self.types or []):
            raise ValueError("'where' is for types that are named in 'types'")
        return self

    @property
    def snapshot(self) -> bool:
        """Whether the page has nothing yet, or is in the middle of getting everything."""
        return self.since == 0 or self.base is not None


_codec: Codec[Pull] = Codec(Pull)


def parse(data: bytes) -> Pull:
    """Read a request.

    Raises:
        TooLarge: before reading it.
        BadRequest: naming what is wrong.
    """
    if len(data) > MAX_REQUEST:
        raise TooLarge(f"a request of {len(data)} bytes", remedy=f"at most {MAX_REQUEST} are read")
    try:
        return _codec.decode(data or b"{}")
    except InvalidInput as error:
        raise BadRequest(error.message, remedy="docs/reference/client-sync.md says what a request may hold") from error


def base_revisions(header: str) -> dict[tuple[str, str], int]:
    """Read the revisions, by type and id, that a page's change is based on.

    Raises:
        BadRequest: naming what is wrong.
    """
    try:
        found = subjects.base_revisions(header)
    except InvalidSubject as error:
        raise BadRequest(error.message, remedy=error.remedy) from error
    if len(found) > MAX_BASES:
        raise BadRequest(f"{len(found)} base revisions", remedy=f"change at most {MAX_BASES} objects at once")
    return found


def matches(value: Any, where: Where | None) -> bool:
    """Whether an object's value is one that `where` asks for."""
    if not where:
        return True
    if not isinstance(value, dict):
        return False
    return all(_is(value.get(name), wanted) for name, wanted in where.items())


def _is(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_is(found, one) for one in wanted)
    # In JSON true is not 1, in Python it is; and browsers, which decide the same, have no numbers but doubles.
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return float(found) == float(wanted)
    return bool(found == wanted)


def shaped(value: Any, fields: list[str] | None) -> Any:
    """A value with the fields asked for alone."""
    if fields is None or not isinstance(value, dict):
        return value
    return {name: value[name] for name in fields if name in value}
