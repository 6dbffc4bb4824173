"""Calls: routes incoming calls to agents. Serve it with `headway worker headway.services.calls:calls --version v1`."""

from .calls import calls
from .models import (
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
