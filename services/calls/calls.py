"""The service `calls`: its three operations. routing.py contains the decisions, desk.py the stored state."""

from __future__ import annotations

import time

from headway import Conflict, Context, Reject, Service

from . import routing
from .desk import Desk, turns
from .models import Agent, AgentStatus, Call, CallsConfig, CallState, Hangup, RouteCall, Routed

calls = Service("calls", config=CallsConfig, description="Routes calls to agents by skill, language and longest idle.")


@calls.rpc("agent-status", timeout=2)
async def agent_status(request: AgentStatus, ctx: Context) -> Agent:
    """Record an agent's presence, skills and languages. An agent must report again within `presence_ttl`."""
    desk = Desk(ctx)
    async for _ in turns(ctx, f"agent {request.agent}"):
        found = await desk.agent(request.agent)
        known = None if found is None else await desk.heal(found.value)
        agent = routing.reported(known, request, time.time(), desk.config.presence_ttl)
        try:
            await desk.report(agent, 0 if found is None else found.revision)
        except Conflict:
            continue
        break
    await desk.sweep()
    return agent


@calls.rpc("route", timeout=2)
async def route(request: RouteCall, ctx: Context) -> Routed:
    """Assign an agent or a place in the queue to a call. A queued caller repeats this within `caller_silence`.

    Repeating it for a call that has an agent returns the same agent.
    """
    desk = Desk(ctx)
    async for _ in turns(ctx, f"call {request.call}"):
        try:
            call, revision = await desk.open(request)
            if call.state is not CallState.QUEUED:
                await desk.announce(call)
                return _routed(call)
            return await _advance(desk, call, revision)
        except Conflict:
            continue
    raise AssertionError  # turns() ends by raising


@calls.rpc("hangup", timeout=2)
async def hangup(request: Hangup, ctx: Context) -> Routed:
    """End a call and free its agent; a call that is still waiting counts as missed. Repeating it changes nothing."""
    desk = Desk(ctx)
    async for _ in turns(ctx, f"call {request.call}"):
        found = await desk.call(request.call)
        if found is None:
            raise Reject(f"there is no call {request.call}", remedy="`route` it first")
        call = routing.hung_up(found.value, request.by, time.time())
        if call != found.value:
            try:
                await desk.record(call, found.revision)
            except Conflict:
                continue
        await desk.finish(call)
        return _routed(call)
    raise AssertionError  # turns() ends by raising


async def _advance(desk: Desk, call: Call, revision: int) -> Routed:
    """Connect a waiting call, give it up, or keep it waiting."""
    found = await desk.agents()
    queue, _ = await desk.queue()
    agents = [agent.value for agent in found.values()]
    now = time.time()
    silence = desk.config.caller_silence
    agent = routing.holder(call.call, agents) or routing.choose(
        call, routing.ahead_of(call.call, queue.tickets, agents, now, silence), agents, now
    )
    if agent is not None:
        call = await desk.connect(call, revision, found[agent.agent])
        await desk.finish(call)
        return _routed(call)
    if now - call.queued_at >= desk.config.max_wait:
        call = routing.missed(call, "no_agent", now)
        await desk.record(call, revision)
        await desk.finish(call)
        return _routed(call)
    ahead = routing.ahead_of(call.call, await desk.wait(call), agents, now, silence)
    place = routing.position(call, ahead)
    wait = routing.estimate(place, call, agents, now, desk.config.handling)
    return Routed(call=call.call, state=call.state, position=place, estimate=wait)


def _routed(call: Call) -> Routed:
    return Routed(call=call.call, state=call.state, agent=call.agent, reason=call.reason)
