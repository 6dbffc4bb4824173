"""The requests, replies and objects of `fax`. All times are unix seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""An id that is valid in a subject."""
BlobName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,199}$")]


class FaxConfig(BaseModel):
    """The frozen configuration of a version.

    Attributes:
        speed: factor by which the simulated line is faster than a real one.
        bits_per_second: bit rate of a real line.
        busy_share: share of dials with a busy receiver.
        no_answer_share: share of dials that are not answered.
        seed: seed of the simulated line.
        resolution: `fine` is 204 x 196 dots per inch, `standard` has half the rows.
        paper: `a4`, or `roll`: then a page of text ends below its last line, which takes less time to render and send.
        font_size: height of the text in dots of a fine page.
        max_pages: maximum number of pages of a document.
        banner: text at the head of each page, before sender, receiver and page number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: float = Field(default=1, gt=0)
    bits_per_second: int = Field(default=14_400, gt=0)
    busy_share: float = Field(default=0.08, ge=0, le=1)
    no_answer_share: float = Field(default=0.04, ge=0, le=1)
    seed: int = 0
    resolution: Literal["standard", "fine"] = "fine"
    paper: Literal["a4", "roll"] = "a4"
    font_size: int = Field(default=34, ge=16, le=200)
    max_pages: int = Field(default=100, ge=1, le=500)
    banner: str = Field(default="Headway", max_length=40)


class Picture(BaseModel):
    """An image: its bytes in base64, or the name of a blob that contains them."""

    model_config = ConfigDict(extra="forbid")

    data: Base64Bytes | None = None
    blob: BlobName | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.data is None) == (self.blob is None):
            raise ValueError("give either data or blob")
        return self


class SendFax(BaseModel):
    """A request to send text, images, or both. A fax with the same id is sent only once."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    fax: Id
    to: str = Field(min_length=1, max_length=64)
    sender: str = Field(default="", max_length=64, alias="from")
    text: str = Field(default="", max_length=500_000)
    images: list[Picture] = Field(default=[], max_length=50)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.text.strip() and not self.images:
            raise ValueError("give text or images")
        return self


class FaxId(BaseModel):
    """A request for the state of one fax."""

    fax: Id


class FaxState(StrEnum):
    """The state of a fax. `sent` is final; a failed one can be replayed from the dead letters."""

    QUEUED = "queued"
    RENDERING = "rendering"
    DIALING = "dialing"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class FaxStatus(BaseModel):
    """Object `fax/<id>`.

    Attributes:
        page: number of pages that the receiver has confirmed.
        pages: number of pages; 0 before they are rendered.
        sizes: bytes of each page.
        dials: number of dials.
        document: the blob with the rendered pages.
        digest: digest of the request, so that an id cannot be used for another document.
        reason: why the last attempt failed.
        at: when this state was written.
    """

    fax: str
    to: str
    sender: str
    state: FaxState
    digest: str
    page: int = 0
    pages: int = 0
    sizes: list[int] = []
    dials: int = 0
    document: str | None = None
    reason: str | None = None
    at: float
