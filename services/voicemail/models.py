"""What `voicemail` receives, answers and stores. All times are unix seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""An id that may stand in a subject."""
BlobName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,199}$")]


class VoicemailConfig(BaseModel):
    """The configuration a version is frozen with.

    Attributes:
        rate: samples per second recordings are brought to; None keeps what comes.
        peak_dbfs: loudness of a recording's loudest sample after normalising, in dB below full scale.
        max_gain_db: at most this much louder, so that the noise of silence stays quiet.
        min_seconds: shorter recordings are refused.
        max_seconds: longer recordings are refused.
        max_bytes: larger ones are refused before they are decoded.
        max_messages: a mailbox that holds so many takes no more.
        peaks: into how many bars the waveform is summed up.
        segment_bytes: a stored recording is cut into blobs of this size, so that a part can be read alone.
        range_bytes: how much one `fetch` answers at most.
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
    """Leave a recording: a WAV file in base64, or the name of a blob that holds it (which stays the uploader's)."""

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
    """Asks for a mailbox, newest first. `before` is the `next` of the page before."""

    model_config = ConfigDict(extra="forbid")

    mailbox: Id
    limit: int = Field(default=20, ge=1, le=100)
    before: int | None = None


class Fetch(BaseModel):
    """Asks for bytes of a recording. The reply may be shorter than asked for: ask again from where it ends."""

    model_config = ConfigDict(extra="forbid")

    message: Id
    start: int = Field(default=0, ge=0)
    length: int | None = Field(default=None, ge=1)


class MessageRef(BaseModel):
    """Names a message of a mailbox."""

    model_config = ConfigDict(extra="forbid")

    mailbox: Id
    message: Id


class MarkHeard(MessageRef):
    """Marks a message as heard, or as unheard again."""

    heard: bool = True


class CallMissed(BaseModel):
    """What this service reads of the event `call.missed`."""

    call: Id
    caller: str = ""
    skill: Id
    at: float


class Entry(BaseModel):
    """A line of a mailbox. Numbers rise with each new entry, so they serve as the place in a list."""

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
    """Part of a mailbox. `next` is the `before` of the next page, None on the last."""

    mailbox: str
    total: int
    unheard: int
    entries: list[Entry]
    next: int | None = None


class Chunk(BaseModel):
    """Bytes of a recording, in base64: `length` of them from `start`, of `total`."""

    message: str
    content_type: Literal["audio/wav"] = "audio/wav"
    start: int
    length: int
    total: int
    data: str
