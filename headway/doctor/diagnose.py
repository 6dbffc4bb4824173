"""From facts to findings. Pure: the same facts always give the same findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from headway.doctor import files, records, servers, work
from headway.doctor.facts import Facts
from headway.doctor.findings import Finding

CHECKS: Final[dict[str, Callable[[Facts], Iterable[Finding]]]] = {
    "connection": servers.reached,
    "server versions": servers.versions,
    "clocks": servers.clocks,
    "cluster": servers.cluster,
    "copies of streams": servers.copies,
    "writes": servers.writes,
    "room": servers.room,
    "promised room": servers.promised,
    "durability": servers.durability,
    "control records": records.unreadable,
    "workers without a record": records.unknown,
    "heartbeats": work.heartbeats,
    "stranded work": work.stranded,
    "lag": work.lag,
    "unfinished messages": work.unacknowledged,
    "orphaned consumers": work.orphans,
    "routes": work.traffic,
    "workers": work.health,
    "attempts and dead letters": work.unstored,
    "releases": work.releases,
    "dead letters": work.letters,
    "keys": files.keys,
    "permissions": files.permissions,
    "credentials": files.credentials,
}

_ORDER: Final = ("error", "warning", "note")


def diagnose(facts: Facts) -> list[Finding]:
    """Return all findings, the worst first."""
    found = [finding for check in CHECKS.values() for finding in check(facts)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def well(findings: Iterable[Finding]) -> bool:
    """Return whether nothing is wrong; notes do not count."""
    return all(finding.severity == "note" for finding in findings)
