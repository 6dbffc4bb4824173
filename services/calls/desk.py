"""The stored state of `calls`. Concurrent workers change it without ever giving an agent two calls.

There are three kinds of objects, written only by compare-and-set:

    call/<id>     created first, as queued
    agent/<id>    its field `call` reserves the agent; set only if it is empty
    queue/calls   the waiting calls

Connecting a call takes two writes: reserve the agent, then record the agent in the call. The record decides: it expects
the revision that was read before the reservation, so of several attempts for one call exactly one succeeds, and the
others free their agents. If a worker dies in between, later requests complete its work: a repeated `route` adopts the
reservation, a report of the agent removes a reservation that was never recorded, and every change of the queue removes
silent callers.

Events are emitted after the record they announce, with the call's id as key, and repeated if necessary: at least once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence

from headway import Conflict, Context, Object, Overloaded, Reject

from . import routing
from .models import Agent, Call, CallsConfig, CallState, Queue, RouteCall, Ticket

AGENT = "agent"
CALL = "call"
QUEUE = "queue"
_THE_QUEUE = "calls"

_SWEEP = 8
"""Maximum number of silent callers that one request removes, so that no request is slow because of them."""
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
_MARGIN = 0.02
"""Seconds before its deadline at which a request gives up and answers."""


async def turns(ctx: Context, what: str) -> AsyncIterator[int]:
    """Yield the numbers of compare-and-set attempts, with pauses in between, until the caller's deadline.

    Raises:
        Overloaded: shortly before the deadline.
    """
    pause = _FIRST_PAUSE
    turn = 0
    while True:
        turn += 1
        yield turn
        pause = min(pause * 2, _LONGEST_PAUSE)
        wait = random.uniform(0, pause)
        left = ctx.remaining()
        if left is not None and left < wait + _MARGIN:
            raise Overloaded(f"{what}: others changed it {turn} times in a row", remedy="try again")
        await asyncio.sleep(wait)


class Desk:
    """The stored state of one tenant's calls, as one request sees it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._objects = ctx.objects
        self.config = ctx.config(CallsConfig)

    async def call(self, id_: str) -> Object[Call] | None:
        """Read a call."""
        return await self._objects.get(CALL, id_, as_=Call)

    async def agent(self, id_: str) -> Object[Agent] | None:
        """Read an agent."""
        return await self._objects.get(AGENT, id_, as_=Agent)

    async def agents(self) -> dict[str, Object[Agent]]:
        """Read all agents."""
        return {found.id: found for found in await self._objects.list(AGENT, as_=Agent)}

    async def queue(self) -> tuple[Queue, int]:
        """Read the queue and its revision."""
        found = await self._objects.get(QUEUE, _THE_QUEUE, as_=Queue)
        return (Queue(), 0) if found is None else (found.value, found.revision)

    async def open(self, request: RouteCall) -> tuple[Call, int]:
        """Read a call and its revision, and create it if it is new.

        Raises:
            Reject: if the id belongs to a call with another request.
            Conflict: if another attempt has just created it.
        """
        found = await self.call(request.call)
        if found is None:
            call = Call(**request.model_dump(), state=CallState.QUEUED, queued_at=time.time())
            return call, await self._objects.put(CALL, request.call, call, expect=0)
        known = found.value
        if (known.skill, known.language, known.caller) != (request.skill, request.language, request.caller):
            raise Reject(
                f"call {request.call} exists with skill {known.skill}, language {known.language} and another request",
                remedy="repeat the same request, or use a new call id",
            )
        return known, found.revision

    async def connect(self, call: Call, revision: int, agent: Object[Agent]) -> Call:
        """Reserve the agent, unless it is already reserved for this call, and record the agent in the call.

        Raises:
            Conflict: if another request was faster; then no reservation remains.
        """
        now = time.time()
        if agent.value.call is None:
            reserved = agent.value.model_copy(update={"call": call.call, "reserved_at": now})
            await self._objects.put(AGENT, agent.id, reserved, expect=agent.revision)
        active = call.model_copy(update={"state": CallState.ACTIVE, "agent": agent.id, "started_at": now})
        try:
            await self._objects.put(CALL, call.call, active, expect=revision)
        except Conflict:
            current = await self.call(call.call)
            if current is None or current.value.agent != agent.id:
                await self.release(agent.id, call.call)
            raise
        return active

    async def release(self, agent: str, call: str) -> None:
        """Free an agent of a call; do nothing if the agent does not have it."""
        async for _ in turns(self._ctx, f"agent {agent}"):
            found = await self.agent(agent)
            if found is None or found.value.call != call:
                return
            try:
                await self._objects.put(AGENT, agent, _freed(found.value, time.time()), expect=found.revision)
            except Conflict:
                continue
            return

    async def record(self, call: Call, revision: int) -> None:
        """Write a changed call.

        Raises:
            Conflict: if it is no longer at this revision.
        """
        await self._objects.put(CALL, call.call, call, expect=revision)

    async def finish(self, call: Call) -> None:
        """Carry out everything that follows from a call's recorded state. It can be repeated."""
        if call.agent is not None and call.state is CallState.ENDED:
            await self.release(call.agent, call.call)
        await self.announce(call)
        await self.leave(call.call)

    async def announce(self, call: Call) -> None:
        """Emit the event of a call's recorded state; the server stores repetitions only once."""
        event = routing.event_of(call)
        if event is not None:
            await self._ctx.emit(event[0], event[1], key=call.call)

    async def wait(self, call: Call) -> list[Ticket]:
        """Ensure that a call is in the queue, and record that its caller is still waiting.

        Returns:
            All tickets.
        """
        async for _ in turns(self._ctx, "the queue"):
            queue, revision = await self.queue()
            now = time.time()
            mine = next((ticket for ticket in queue.tickets if ticket.call == call.call), None)
            if mine is not None and now - mine.seen < self.config.caller_silence / 4:
                return queue.tickets
            gone = await self._settle(queue.tickets, call.call, now)
            if mine is None:
                mine = Ticket(call=call.call, skill=call.skill, language=call.language, seen=now)
                queue.tickets.append(mine)
            mine.seen = now
            queue.tickets = [ticket for ticket in queue.tickets if ticket.call not in gone]
            try:
                await self._objects.put(QUEUE, _THE_QUEUE, queue, expect=revision)
            except Conflict:
                continue
            return queue.tickets
        raise AssertionError  # turns() ends by raising

    async def leave(self, call: str) -> None:
        """Remove a call from the queue, if it is there."""
        await self._remove({call})

    async def sweep(self) -> None:
        """Remove silent callers from the queue."""
        queue, _ = await self.queue()
        await self._remove(await self._settle(queue.tickets, None, time.time()))

    async def heal(self, agent: Agent) -> Agent:
        """Return an agent without a reservation that was never recorded.

        If the reservation may still be recorded, the call is changed first, so that a slow attempt fails to record it.
        """
        if agent.call is None or agent.reserved_at is None:
            return agent
        now = time.time()
        found = await self.call(agent.call)
        if found is not None and found.value.state is CallState.ACTIVE and found.value.agent == agent.agent:
            return agent
        if found is not None and found.value.state is CallState.QUEUED:
            if now - agent.reserved_at < self.config.caller_silence:
                return agent
            lost = routing.missed(found.value, "caller_silent", now)
            try:
                await self.record(lost, found.revision)
            except Conflict:
                return agent
            await self.finish(lost)
        elif found is not None:
            await self.announce(found.value)
        return _freed(agent, now)

    async def report(self, agent: Agent, revision: int) -> None:
        """Write a changed agent.

        Raises:
            Conflict: if it is no longer at this revision.
        """
        await self._objects.put(AGENT, agent.agent, agent, expect=revision)

    async def _settle(self, tickets: Sequence[Ticket], but: str | None, now: float) -> set[str]:
        """Record silent callers' calls as missed and emit their events; return the calls to remove from the queue."""
        silent = [t for t in tickets if t.call != but and routing.silent(t, now, self.config.caller_silence)]
        settled: set[str] = set()
        for ticket in silent[:_SWEEP]:
            found = await self.call(ticket.call)
            if found is not None:
                call = found.value
                if call.state is CallState.QUEUED:
                    call = routing.missed(call, "caller_silent", now)
                    try:
                        await self.record(call, found.revision)
                    except Conflict:
                        continue
                await self.announce(call)
            settled.add(ticket.call)
        return settled

    async def _remove(self, gone: set[str]) -> None:
        if not gone:
            return
        async for _ in turns(self._ctx, "the queue"):
            queue, revision = await self.queue()
            kept = [ticket for ticket in queue.tickets if ticket.call not in gone]
            if len(kept) == len(queue.tickets):
                return
            try:
                await self._objects.put(QUEUE, _THE_QUEUE, Queue(tickets=kept), expect=revision)
            except Conflict:
                continue
            return


def _freed(agent: Agent, now: float) -> Agent:
    return agent.model_copy(update={"call": None, "reserved_at": None, "idle_since": now})
