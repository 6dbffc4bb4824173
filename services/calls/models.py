"""The requests, replies, objects and events of `calls`. All times are unix seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""An id that is valid in a subject."""
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A skill or a language: `billing`, `en`, `pt-br`."""
Tags = Annotated[list[Tag], Field(max_length=64)]


class CallsConfig(BaseModel):
    """The frozen configuration of a version.

    Attributes:
        presence_ttl: seconds without a report after which an agent no longer counts as present.
        caller_silence: seconds without a request after which a waiting caller counts as gone.
        max_wait: seconds that a call waits for an agent before it is missed.
        handling: average seconds per call, used to estimate the waiting time.
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
    """The state of a call. `ended` and `missed` are final."""

    QUEUED = "queued"
    ACTIVE = "active"
    ENDED = "ended"
    MISSED = "missed"


MissedReason = Literal["no_agent", "caller_hung_up", "caller_silent"]


class AgentStatus(BaseModel):
    """An agent's report. Skills and languages that are left out stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    agent: Id
    presence: Presence = Presence.AVAILABLE
    skills: Tags | None = None
    languages: Tags | None = None


class RouteCall(BaseModel):
    """A new call, or the repeated request of a waiting one."""

    model_config = ConfigDict(extra="forbid")

    call: Id
    caller: str = Field(default="", max_length=64)
    skill: Tag
    language: Tag


class Hangup(BaseModel):
    """The end of a call."""

    model_config = ConfigDict(extra="forbid")

    call: Id
    by: Literal["caller", "agent"] = "caller"


class Routed(BaseModel):
    """The state of a call after `route` or `hangup`.

    Attributes:
        agent: the agent who has or had the call.
        position: position among the calls with this skill and language, starting at 1; only while queued.
        estimate: estimated seconds until an agent is free; None if no such agent is present.
        reason: why it was missed.
    """

    call: str
    state: CallState
    agent: str | None = None
    position: int | None = None
    estimate: float | None = None
    reason: MissedReason | None = None


class Agent(BaseModel):
    """Object `agent/<id>`. `call` reserves the agent: it is set by compare-and-set, and only if it is empty."""

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
    """Object `queue/calls`: the tenant's waiting calls, oldest first; a single object, so that positions are exact."""

    tickets: list[Ticket] = []


class CallStarted(BaseModel):
    """Event `call.started`: the call was connected to an agent."""

    call: str
    agent: str
    caller: str
    skill: str
    language: str
    waited: float
    at: float


class CallEnded(BaseModel):
    """Event `call.ended`: the call was hung up after it had an agent."""

    call: str
    agent: str
    caller: str
    skill: str
    language: str
    seconds: float
    by: Literal["caller", "agent"]
    at: float


class CallMissed(BaseModel):
    """Event `call.missed`: the call ended before it had an agent."""

    call: str
    caller: str
    skill: str
    language: str
    waited: float
    reason: MissedReason
    at: float
