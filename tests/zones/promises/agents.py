"""A call has at most one agent, and an agent at most one call.

route     asked {"call"}           ok {"agent"}; null while it waits
hangup    asked {"call"}           ok
desk      seen  {"agents": {<agent>: <call>}, "calls": {<call>: <agent>}}   who is reserved and active, at the end
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.zones.finding import Finding
from tests.zones.history import Entry, operations, seen

TWO_AGENTS = "a call was given two agents"
TWO_CALLS = "an agent had two calls at once"


def agents(history: Sequence[Entry]) -> list[Finding]:
    return [*_one_agent(history), *_one_call(history), *_in_the_end(history)]


def _one_agent(history: Sequence[Entry]) -> Iterable[Finding]:
    given: dict[str, str] = {}
    for one in operations(history, "route"):
        if one.ok and one.got["agent"] is not None:
            call, agent = one.asked["call"], one.got["agent"]
            if given.setdefault(call, agent) != agent:
                yield Finding(TWO_AGENTS, f"{call} was given {given[call]}, then {agent}")


def _one_call(history: Sequence[Entry]) -> Iterable[Finding]:
    """An agent certainly has a call from the answer that says so until somebody asks to hang up."""
    over: dict[str, float] = {}
    for one in operations(history, "hangup"):
        over.setdefault(one.asked["call"], one.began)
    held: dict[str, dict[str, tuple[float, float]]] = {}
    for one in operations(history, "route"):
        if one.ok and one.got["agent"] is not None:
            assert one.ended is not None
            call = one.asked["call"]
            held.setdefault(one.got["agent"], {}).setdefault(call, (one.ended, over.get(call, float("inf"))))
    for agent, spans in held.items():
        had, until = "", 0.0
        for call, (began, ended) in sorted(spans.items(), key=lambda item: item[1]):
            if began < until:
                yield Finding(TWO_CALLS, f"{agent} got {call} at {began:.2f} while on {had}")
            if ended > until:
                had, until = call, ended


def _in_the_end(history: Sequence[Entry]) -> Iterable[Finding]:
    for end in seen(history, "desk"):
        had: dict[str, str] = {}
        for call, agent in end.value["calls"].items():
            if had.setdefault(agent, call) != call:
                yield Finding(TWO_CALLS, f"{agent} is on {had[agent]} and on {call} in the end")
            if end.value["agents"].get(agent) != call:
                yield Finding(TWO_CALLS, f"{agent} is on {call}, but free for another in the end")
