"""The routing decisions: pure functions without clock or network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from .models import (
    Agent,
    AgentStatus,
    Call,
    CallEnded,
    CallMissed,
    CallStarted,
    CallState,
    Presence,
    Ticket,
)


class Need(Protocol):
    """A call's requirements of an agent; `Call`, `Ticket` and `RouteCall` have them."""

    @property
    def skill(self) -> str:
        """The skill that the agent must have."""
        ...

    @property
    def language(self) -> str:
        """The language that the agent must speak."""
        ...


def serves(agent: Agent, need: Need, now: float) -> bool:
    """Return whether an agent is present and qualified for a call, even if busy."""
    return (
        agent.presence is Presence.AVAILABLE
        and now < agent.present_until
        and need.skill in agent.skills
        and need.language in agent.languages
    )


def choose(need: Need, ahead: Sequence[Need], agents: Iterable[Agent], now: float) -> Agent | None:
    """Choose the agent for a call: of those who are qualified and free, the one idle for longest.

    Calls ahead of it choose first, by the same rule, so no call overtakes another that could have the same agent. But
    a call does not wait for calls ahead that need other agents.

    Args:
        need: the call's skill and language.
        ahead: the calls before it, oldest first.
        agents: all agents.
        now: unix seconds.

    Returns:
        The agent; None if the call has to wait.
    """
    free = sorted((a for a in agents if a.call is None), key=lambda a: (a.idle_since, a.agent))
    for earlier in ahead:
        if not free:
            return None
        taken = next((a for a in free if serves(a, earlier, now)), None)
        if taken is not None:
            free.remove(taken)
    return next((a for a in free if serves(a, need, now)), None)


def holder(call: str, agents: Iterable[Agent]) -> Agent | None:
    """Return the agent that is already reserved for a call, by an attempt that was not completed; None without one."""
    return min((a for a in agents if a.call == call), key=lambda a: a.agent, default=None)


def ahead_of(call: str, tickets: Sequence[Ticket], agents: Iterable[Agent], now: float, silence: float) -> list[Ticket]:
    """Return the tickets ahead of a call: those before its own, or all if it has none yet.

    Silent callers, and calls that already have an agent, are left out.
    """
    served = {a.call for a in agents}
    before: list[Ticket] = []
    for ticket in tickets:
        if ticket.call == call:
            break
        if ticket.call not in served and not silent(ticket, now, silence):
            before.append(ticket)
    return before


def silent(ticket: Ticket, now: float, silence: float) -> bool:
    """Return whether a waiting caller has not repeated its request for too long."""
    return now - ticket.seen >= silence


def position(need: Need, ahead: Iterable[Need]) -> int:
    """Return a call's position among those with the same skill and language, starting at 1."""
    return 1 + sum(other.skill == need.skill and other.language == need.language for other in ahead)


def estimate(place: int, need: Need, agents: Iterable[Agent], now: float, handling: float) -> float | None:
    """Return the estimated seconds until a call at this position is served; None if no present agent can serve it."""
    serving = sum(serves(agent, need, now) for agent in agents)
    return place * handling / serving if serving else None


def reported(known: Agent | None, status: AgentStatus, now: float, ttl: float) -> Agent:
    """Return an agent after its report. Idle time starts when the agent becomes available, not at a repeated report."""
    was_there = known is not None and known.presence is Presence.AVAILABLE and now < known.present_until
    return Agent(
        agent=status.agent,
        presence=status.presence,
        skills=_kept(status.skills, known.skills if known else []),
        languages=_kept(status.languages, known.languages if known else []),
        present_until=now + ttl,
        idle_since=known.idle_since if known is not None and was_there else now,
        call=known.call if known else None,
        reserved_at=known.reserved_at if known else None,
    )


def _kept(given: list[str] | None, known: list[str]) -> list[str]:
    return known if given is None else given


def hung_up(call: Call, by: str, now: float) -> Call:
    """Return a call after a hangup: ended if it had an agent, otherwise missed; a finished call stays unchanged."""
    if call.state is CallState.ACTIVE:
        return call.model_copy(update={"state": CallState.ENDED, "over_at": now, "by": by})
    if call.state is CallState.QUEUED:
        return missed(call, "caller_hung_up", now)
    return call


def missed(call: Call, reason: str, now: float) -> Call:
    """Return a waiting call as missed."""
    return call.model_copy(update={"state": CallState.MISSED, "over_at": now, "reason": reason})


def event_of(call: Call) -> tuple[str, CallStarted | CallEnded | CallMissed] | None:
    """Return the event that announces a call's state, with its type; None while it waits."""
    common = {"call": call.call, "caller": call.caller, "skill": call.skill, "language": call.language}
    if call.agent is not None and call.started_at is not None:
        common["agent"] = call.agent
        if call.over_at is not None and call.by is not None:
            seconds = call.over_at - call.started_at
            return "call.ended", CallEnded(**common, seconds=seconds, by=call.by, at=call.over_at)
        waited = call.started_at - call.queued_at
        return "call.started", CallStarted(**common, waited=waited, at=call.started_at)
    if call.over_at is not None and call.reason is not None:
        waited = call.over_at - call.queued_at
        return "call.missed", CallMissed(**common, waited=waited, reason=call.reason, at=call.over_at)
    return None
