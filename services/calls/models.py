"""What `calls` receives, answers, stores and tells. All times are unix seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""An id that may stand in a subject."""
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A skill or a language: `billing`, `en`, `pt-br`."""
Tags = Annotated[list[Tag], Field(max_length=64)]


class CallsConfig(BaseModel):
    """The configuration a version is frozen with.

    Attributes:
        presence_ttl: seconds after which an agent who was not heard of no longer counts as present.
        caller_silence: seconds after which a waiting caller who did not ask again counts as gone.
        max_wait: seconds a call waits for an agent before it is missed.
        handling: seconds a call takes on average; the estimate of the waiting time rests on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    presence_ttl: float = Field(default=60, gt=0)
    caller_silence: float = Field(default=15, gt=0)
    max_wait: float = Field(default=300, gt=0)
    handling: float = Field(default=180, gt=0)


class Presence(StrEnum):
    """Whether an agent takes calls."""

    AVAILABLE = "available"
    AWAY = "away"
    OFFLINE = "offline"


class CallState(StrEnum):
    """Where a call stands. `ended` and `missed` are final."""

    QUEUED = "queued"
    ACTIVE = "active"
    ENDED = "ended"
    MISSED = "missed"


MissedReason = Literal["no_agent", "caller_hung_up", "caller_silent"]


class AgentStatus(BaseModel):
    """An agent reports in. Skills and languages that are left out stay as they were."""

    model_config = ConfigDict(extra="forbid")

    agent: Id
    presence: Presence = Presence.AVAILABLE
    skills: Tags | None = None
    languages: Tags | None = None


class RouteCall(BaseModel):
    """A call comes in, or a waiting one asks again."""

    model_config = ConfigDict(extra="forbid")

    call: Id
    caller: str = Field(default="", max_length=64)
    skill: Tag
    language: Tag


class Hangup(BaseModel):
    """A call is over."""

    model_config = ConfigDict(extra="forbid")

    call: Id
    by: Literal["caller", "agent"] = "caller"


class Routed(BaseModel):
    """Where a call stands after `route` or `hangup`.

    Attributes:
        agent: who has or had it.
        position: 1 for the next of the calls with this skill and language; only while queued.
        estimate: seconds until an agent is likely free; None if no such agent is present.
        reason: why it was missed.
    """

    call: str
    state: CallState
    agent: str | None = None
    position: int | None = None
    estimate: float | None = None
    reason: MissedReason | None = None


class Agent(BaseModel):
    """Object `agent/<id>`. `call` reserves the agent: it is only ever set on one who has none, by compare-and-set."""

    agent: str
    presence: Presence
    skills: list[str]
    languages: list[str]
    present_until: float
    idle_since: float
    call: str | None = None
    reserved_at: float | None = None


class Call(BaseModel):
    """Object `call/<id>`."""

    call: str
    caller: str
    skill: str
    language: str
    state: CallState
    queued_at: float
    agent: str | None = None
    started_at: float | None = None
    over_at: float | None = None
    reason: MissedReason | None = None
    by: Literal["caller", "agent"] | None = None


class Ticket(BaseModel):
    """A waiting call's place in the queue."""

    call: str
    skill: str
    language: str
    seen: float


class Queue(BaseModel):
    """Object `queue/calls`: the tenant's waiting calls, first come first; one object, so that places are exact."""

    tickets: list[Ticket] = []


class CallStarted(BaseModel):
    """Event `call.started`: an agent has the call."""

    call: str
    agent: str
    caller: str
    skill: str
    language: str
    waited: float
    at: float


class CallEnded(BaseModel):
    """Event `call.ended`: it was hung up after it had an agent."""

    call: str
    agent: str
    caller: str
    skill: str
    language: str
    seconds: float
    by: Literal["caller", "agent"]
    at: float


class CallMissed(BaseModel):
    """Event `call.missed`: it was over before an agent had it."""

    call: str
    caller: str
    skill: str
    language: str
    waited: float
    reason: MissedReason
    at: float
