"""The requests, replies and objects of `voicemail`. All times are unix seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""An id that is valid in a subject."""
BlobName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,199}$")]


class VoicemailConfig(BaseModel):
    """The frozen configuration of a version.

    Attributes:
        rate: samples per second of stored recordings; None keeps the original rate.
        peak_dbfs: level of a recording's loudest sample after normalizing, in dB relative to full scale.
        max_gain_db: maximum gain, so that background noise stays quiet.
        min_seconds: minimum duration of a recording.
        max_seconds: maximum duration of a recording.
        max_bytes: maximum size of a recording, checked before it is decoded.
        max_messages: maximum number of messages in a mailbox.
        peaks: number of bars of the waveform.
        segment_bytes: size of the blobs that a recording is stored in, so that parts can be read separately.
        range_bytes: maximum bytes in the answer to one `fetch`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: int | None = Field(default=8000, ge=4000, le=192_000)
    peak_dbfs: float = Field(default=-1, ge=-40, le=0)
    max_gain_db: float = Field(default=40, ge=0)
    min_seconds: float = Field(default=0.2, ge=0)
    max_seconds: float = Field(default=300, gt=0)
    max_bytes: int = Field(default=32 << 20, ge=1024)
    max_messages: int = Field(default=200, ge=1, le=2000)
    peaks: int = Field(default=100, ge=1, le=1000)
    segment_bytes: int = Field(default=128 << 10, ge=1024)
    range_bytes: int = Field(default=256 << 10, ge=1024)


class Deposit(BaseModel):
    """A recording to deposit: a WAV file in base64, or the name of a blob with it, which is not deleted."""

    model_config = ConfigDict(extra="forbid")

    message: Id
    mailbox: Id
    caller: str = Field(default="", max_length=64)
    data: Base64Bytes | None = None
    blob: BlobName | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.data is None) == (self.blob is None):
            raise ValueError("give either data or blob")
        return self


class ListMessages(BaseModel):
    """A request for a page of a mailbox, newest first. `before` is the `next` of the previous page."""

    model_config = ConfigDict(extra="forbid")

    mailbox: Id
    limit: int = Field(default=20, ge=1, le=100)
    before: int | None = None


class Fetch(BaseModel):
    """A request for bytes of a recording. The reply may be shorter: request the rest from its end."""

    model_config = ConfigDict(extra="forbid")

    message: Id
    start: int = Field(default=0, ge=0)
    length: int | None = Field(default=None, ge=1)


class MessageRef(BaseModel):
    """A reference to a message of a mailbox."""

    model_config = ConfigDict(extra="forbid")

    mailbox: Id
    message: Id


class MarkHeard(MessageRef):
    """A request to mark a message as heard or unheard."""

    heard: bool = True


class CallMissed(BaseModel):
    """The part of the event `call.missed` that this service uses."""

    call: Id
    caller: str = ""
    skill: Id
    at: float


class Entry(BaseModel):
    """An entry of a mailbox. Numbers increase with each new entry, so they serve as positions for paging."""

    number: int
    message: str
    kind: Literal["voicemail", "missed_call"]
    caller: str
    at: float
    seconds: float = 0
    heard: bool = False


class Mailbox(BaseModel):
    """Object `mailbox/<id>`: its entries, newest first."""

    mailbox: str
    unheard: int = 0
    next_number: int = 1
    entries: list[Entry] = []


class Message(BaseModel):
    """Object `voicemail/<id>`: a stored recording. `peaks` are its waveform, 0 to 1."""

    message: str
    mailbox: str
    caller: str
    at: float
    seconds: float
    rate: int
    size: int
    segment_bytes: int
    peaks: list[float]


class Page(BaseModel):
    """A page of a mailbox. `next` is the `before` of the next page; None on the last page."""

    mailbox: str
    total: int
    unheard: int
    entries: list[Entry]
    next: int | None = None


class Chunk(BaseModel):
    """Bytes of a recording in base64: `length` bytes from `start`, of `total`."""

    message: str
    content_type: Literal["audio/wav"] = "audio/wav"
    start: int
    length: int
    total: int
    data: str
