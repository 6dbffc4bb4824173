"""The requests of pages and their limits, documented in docs/reference/client-sync.md."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headway.bus.errors import InvalidInput, InvalidSubject, TooLarge
from headway.bus.wire import subjects
from headway.bus.wire.codec import Codec
from headway.clientsync.errors import BadRequest

MAX_REQUEST: Final = 16 * 1024
"""Maximum bytes of a request; a larger one is refused before it is parsed."""
MAX_LIMIT: Final = 1000
"""Maximum number of changes in a reply."""
MAX_REPLY: Final = 256 * 1024
"""Bytes of changes after which a reply is full. It includes the object that exceeds this limit."""
MAX_BASES: Final = 16
"""Maximum number of objects that one submission may change."""

Token = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=256)]
Scalar = Text | bool | int | float | None
Sequence = Annotated[int, Field(ge=0, lt=1 << 53)]
"""Integers that JavaScript numbers represent exactly."""

Fields = dict[Token, Annotated[list[Name], Field(max_length=64)]]
Where = dict[Name, Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=16)]]


class ConflictNotice(BaseModel):
    """A write conflict: the second writer based its change on a revision that the first had replaced.

    Attributes:
        type, id: the object.
        base: the revision that the second writer knew.
        theirs: the revision that the second writer found.
        kept: whose change was kept.
        fields: the fields that both had changed; `*` is the whole object.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Token
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    base: Sequence
    theirs: Sequence
    kept: Literal["first", "second", "merged"]
    fields: Annotated[list[Name], Field(max_length=64)]


class Pull(BaseModel):
    """A request on `sync.<tenant>.pull` for the changes after a sequence.

    Attributes:
        types: types of the objects; None for all.
        since: the sequence up to which the page has all changes.
        epoch: epoch of the stream that `since` refers to.
        base: during a snapshot, the `base` of its first reply.
        fields: fields to send, by type; other types are sent whole.
        where: objects to send, by type: each field must have the given value, or one of the given values.
        limit: maximum number of changes in the reply.
        checksum: whether to add a checksum to the last page.
        presence: whether to return presence instead of changes.
        conflict: a conflict to publish to all pages of the tenant; the reply is empty.
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
    conflict: ConflictNotice | None = None

    @model_validator(mode="after")
    def _names_its_types(self) -> Self:
        if self.where and not set(self.where) <= set(self.types or []):
            raise ValueError("'where' may only have types that are listed in 'types'")
        return self

    @property
    def snapshot(self) -> bool:
        """Whether the page has nothing yet, or is still loading a snapshot."""
        return self.since == 0 or self.base is not None


_codec: Codec[Pull] = Codec(Pull)


def parse(data: bytes) -> Pull:
    """Parse a request.

    Raises:
        TooLarge: if it exceeds `MAX_REQUEST`.
        BadRequest: if it is malformed; names the problem.
    """
    if len(data) > MAX_REQUEST:
        raise TooLarge(f"the request has {len(data)} bytes", remedy=f"send at most {MAX_REQUEST}")
    try:
        return _codec.decode(data or b"{}")
    except InvalidInput as error:
        raise BadRequest(error.message, remedy="docs/reference/client-sync.md describes requests") from error


def base_revisions(header: str) -> dict[tuple[str, str], int]:
    """Parse the revisions, by type and id, that a page's change is based on.

    Raises:
        BadRequest: if they are malformed or too many; names the problem.
    """
    try:
        found = subjects.base_revisions(header)
    except InvalidSubject as error:
        raise BadRequest(error.message, remedy=error.remedy) from error
    if len(found) > MAX_BASES:
        raise BadRequest(f"there are {len(found)} base revisions", remedy=f"change at most {MAX_BASES} objects at once")
    return found


def matches(value: Any, where: Where | None) -> bool:
    """Return whether an object's value matches `where`."""
    if not where:
        return True
    if not isinstance(value, dict):
        return False
    return all(_is(value.get(name), wanted) for name, wanted in where.items())


def _is(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_is(found, one) for one in wanted)
    # In Python True equals 1, in JSON it does not. Compare as doubles, as browsers do.
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return float(found) == float(wanted)
    return bool(found == wanted)


def shaped(value: Any, fields: list[str] | None) -> Any:
    """Return a value with only the given fields."""
    if fields is None or not isinstance(value, dict):
        return value
    return {name: value[name] for name in fields if name in value}
