"""Whether a cluster has all copies of all streams."""

from __future__ import annotations

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from headway.bus.nats import streams


async def complete(js: JetStreamContext, replicas: int) -> bool:
    """Whether each stream has a leader, and so many copies that are all up to date."""
    try:
        infos = await js.streams_info()
    except (nats.errors.Error, nats.js.errors.Error):
        return False
    groups = [info.cluster for info in infos]
    return len(groups) >= len(streams.shared()) and all(
        group is not None
        and bool(group.leader)
        and len(group.replicas or ()) == replicas - 1
        and all(peer.current and not peer.offline for peer in group.replicas or ())
        for group in groups
    )
