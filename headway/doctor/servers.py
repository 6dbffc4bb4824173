"""Problems of servers, the cluster and the copies of streams. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headway.bus.nats.streams import EVENTS, JOBS, shared
from headway.control.lease import TTL
from headway.doctor.facts import Disk, Facts, ServerFacts, StreamFacts
from headway.doctor.findings import Finding, error, note, warning

OLDEST: Final = (2, 11)
"""The first nats-server that knows time to live per message, which leases and tombstones need."""
SKEW: Final = 1.0
"""Seconds that clocks may differ: deadlines of calls and expiry of tokens are wall-clock times."""
SKEW_MUCH: Final = 5.0
SLOW: Final = 1.0
"""Seconds from which on a single write is slow."""
LEASE: Final = TTL + 2.0
"""Seconds after which a lease that is not renewed should have expired."""
FULL: Final = 0.8
"""Share of a limit from which it is reported."""
FULL_NEARLY: Final = 0.98
FREE: Final = 0.10
FREE_LITTLE: Final = 0.03


def reached(facts: Facts) -> Iterator[Finding]:
    """Check whether a server answers at all, and report what could not be read."""
    if facts.unreachable:
        fix = "start it (`headway up`), or give its address: --url or HEADWAY_NATS_URL, --creds or HEADWAY_NATS_CREDS"
        yield error("unreachable", facts.url, facts.unreachable, fix)
    for what, why in sorted(facts.blind.items()):
        yield note("not-checked", what, f"not checked: {why}")


def versions(facts: Facts) -> Iterator[Finding]:
    """Find servers that are too old, or have different versions."""
    for server in facts.servers:
        if server.version < OLDEST:
            need = ".".join(map(str, OLDEST))
            yield error("server-old", server.name, f"nats-server {_dotted(server)}", f"upgrade it to {need} or newer")
    if len({server.version for server in facts.servers}) > 1:
        found = ", ".join(f"{server.name} {_dotted(server)}" for server in facts.servers)
        fix = "finish the upgrade; run a cluster of mixed versions for hours, not days"
        yield warning("server-versions", "cluster", f"servers differ: {found}", fix)


def clocks(facts: Facts) -> Iterator[Finding]:
    """Find clocks that differ from this machine's."""
    for server in facts.servers:
        away = abs(server.skew)
        if away >= SKEW:
            which = "ahead of" if server.skew > 0 else "behind"
            kind = error if away >= SKEW_MUCH else warning
            what = f"its clock is {away:.1f} s {which} this machine's: calls expire early or late"
            yield kind("clock-skew", server.name, what, "let both keep time by NTP (chrony, systemd-timesyncd)")


def cluster(facts: Facts) -> Iterator[Finding]:
    """Find servers without JetStream, clusters without a leader, and servers that are gone."""
    for server in facts.servers:
        if not server.jetstream:
            yield error(
                "no-jetstream", server.name, "has no JetStream", "configure a store directory; see the end of its log"
            )
    members = [server for server in facts.servers if server.cluster_size]
    if not members:
        return
    size = max(server.cluster_size for server in members)
    leaders = {server.leader for server in members}
    if "" in leaders:
        fix = f"bring servers back: {size // 2 + 1} of {size} are needed"
        yield error("no-leader", "cluster", "JetStream has no leader: nothing can be stored or changed", fix)
    for server in members:
        if server.name != server.leader:
            continue
        for peer in server.peers:
            if peer.offline or not peer.current:
                state = "is gone" if peer.offline else f"is {peer.lag} operations behind"
                fix = "restart it; if it is gone for good: nats server cluster peer-remove"
                yield error("server-gone", peer.name, f"{state}, says the leader {server.name}", fix)


def copies(facts: Facts) -> Iterator[Finding]:
    """Find streams that are missing, have no leader, or have fewer copies than they should."""
    if "streams" in facts.blind or facts.unreachable:
        return
    for name in facts.silent:
        fix = "restart the servers that hold its replicas"
        yield error("stream-silent", name, "does not answer: most of its replicas are offline", fix)
    there = {stream.name for stream in facts.streams} | set(facts.silent)
    for config in shared():
        if config.name not in there:
            fix = "`headway up` creates it; restore its contents from the last backup"
            yield error("stream-missing", str(config.name), "does not exist", fix)
    wanted = next((stream.replicas for stream in facts.streams if stream.name == EVENTS), None)
    size = max((server.cluster_size for server in facts.servers), default=0)
    for stream in facts.streams:
        yield from _copies(stream, wanted)
    if size >= 3 and wanted == 1:
        fix = "set `replicas: 3` under `server:` in headway.yaml and start `headway up` again"
        what = f"have one replica in a cluster of {size}: a lost server takes their data with it"
        yield warning("one-copy", "streams", what, fix)


def _copies(stream: StreamFacts, wanted: int | None) -> Iterator[Finding]:
    if stream.clustered and not stream.leader:
        fix = "restart the servers that hold its replicas"
        yield error("stream-no-leader", stream.name, "has no leader: it neither stores nor delivers messages", fix)
    for peer in stream.peers:
        if peer.offline or not peer.current:
            state = "gone" if peer.offline else f"{peer.lag} operations behind"
            what = f"its replica on {peer.name} is {state}"
            yield error("copy-behind", stream.name, what, f"look at server {peer.name}")
    if wanted is not None and stream.name.startswith(JOBS) and stream.replicas != wanted:
        fix = "start `headway up` again with `replicas` in headway.yaml: it reaches all streams"
        yield warning("copies-differ", stream.name, f"has {stream.replicas} replicas, {EVENTS} has {wanted}", fix)


def writes(facts: Facts) -> Iterator[Finding]:
    """Check that writes are stored, and that controllers renew their leases."""
    if facts.not_stored:
        what = f"accepts connections, but a write was not stored: {facts.not_stored}"
        fix = "free disk space, check its open files (ulimit -n), restart it; `headway up` restarts it by itself"
        yield error("not-stored", facts.url, what, fix)
    elif facts.stored is not None and facts.stored >= SLOW:
        what = f"a write took {facts.stored:.1f} s to be acknowledged"
        yield warning("store-slow", facts.url, what, "check the disk load of this server and of the others")
    for name, age in sorted(facts.lease_ages.items()):
        if age > LEASE:
            what = f"its lease was last renewed {age:.0f} s ago; it should be renewed every second"
            fix = f"see the log of the {name}: it cannot write or is stuck; another one takes over"
            yield warning("lease-stale", name, what, fix)


def room(facts: Facts) -> Iterator[Finding]:
    """Find streams, servers and disks that fill up."""
    for stream in facts.streams:
        if stream.refuses and stream.bound > 0 and stream.size >= FULL * stream.bound:
            share = stream.size / stream.bound
            kind = error if share >= FULL_NEARLY else warning
            yield kind(
                "stream-full",
                stream.name,
                f"is {share:.0%} full ({_bytes(stream.size)}); publishers are refused when it is full",
                "add workers, or raise the bound (queue_bytes of the service)"
                if stream.name.startswith(JOBS)
                else "delete what is no longer needed, or raise its bound",
            )
    for server in facts.servers:
        if server.room and server.stored >= FULL * server.room:
            what = f"JetStream has used {server.stored / server.room:.0%} of {_bytes(server.room)}"
            yield warning("store-full", server.name, what, "use a larger disk, or keep less")
    for disk in facts.disks:
        yield from _disk(disk)


def promised(facts: Facts) -> Iterator[Finding]:
    """Compare the limits of all streams with the servers' disk space."""
    room = min((server.room for server in facts.servers if server.room), default=0)
    bounds = [stream.bound for stream in facts.streams if stream.bound > 0]
    if room and sum(bounds) > room:
        what = (
            f"{len(bounds)} streams may hold {_bytes(sum(bounds))} together, the server has room for {_bytes(room)}: "
            "when that is full, publishers of all services are refused"
        )
        yield note(
            "room-promised", "streams", what, "lower queue_bytes of services that need less, or use a larger disk"
        )


def _disk(disk: Disk) -> Iterator[Finding]:
    share = disk.free / disk.total if disk.total else 1.0
    if share < FREE:
        kind = error if share < FREE_LITTLE else warning
        what = f"{_bytes(disk.free)} are free ({share:.0%}): a full disk stops JetStream"
        yield kind("disk-full", disk.path, what, "free space, or move the store to a larger disk")


def durability(facts: Facts) -> Iterator[Finding]:
    """Report what a power cut could lose."""
    if facts.servers and not any(server.strict for server in facts.servers):
        yield note(
            "durability",
            "streams",
            "a power cut of all servers may lose the last two minutes of messages",
            "set `durability: strict` in headway.yaml (docs/reliability.md states what it costs)",
        )


def _dotted(server: ServerFacts) -> str:
    return ".".join(map(str, server.version))


def _bytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
