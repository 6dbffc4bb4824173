"""Calls: routes incoming calls to agents. Serve it with `headway worker services.calls:calls --version v1`."""

from services.calls.calls import calls
from services.calls.models import (
    Agent,
    AgentStatus,
    Call,
    CallEnded,
    CallMissed,
    CallsConfig,
    CallStarted,
    CallState,
    Hangup,
    Presence,
    RouteCall,
    Routed,
)

__all__ = [
    "Agent",
    "AgentStatus",
    "Call",
    "CallEnded",
    "CallMissed",
    "CallStarted",
    "CallState",
    "CallsConfig",
    "Hangup",
    "Presence",
    "RouteCall",
    "Routed",
    "calls",
]
