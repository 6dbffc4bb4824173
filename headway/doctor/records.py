"""Control records: unreadable ones, and workers without any. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from headway.control.store import parse_key
from headway.doctor.facts import Facts
from headway.doctor.findings import Finding, error


def unreadable(facts: Facts) -> Iterator[Finding]:
    """Find unreadable records: whatever they describe stays as it was."""
    for key, why in sorted(facts.unreadable.items()):
        what = f"cannot be read; what it describes is left unchanged: {why}"
        yield error("record-unreadable", key, what, f"headway records mend {key}")


def unknown(facts: Facts) -> Iterator[Finding]:
    """Find workers of versions without a record: they are neither replaced nor stopped."""
    if {"control records", "workers"} & facts.blind.keys():
        return
    if not facts.services and not facts.versions:
        return  # workers that are started by hand need no records
    known = facts.versions.keys() | {
        (key.owner, key.version)
        for key in map(parse_key, facts.unreadable)
        if key is not None and key.family == "version"
    }
    running = {(beat.service, beat.version) for beat in facts.beats if beat.state != "stopped"}
    scaled = {service for service, _ in facts.versions} | facts.services.keys()
    for service, version in sorted(running - known):
        if service not in scaled:
            continue
        what = "has workers but no control record: they keep running, but nothing replaces or stops them"
        fix = f"declare it again (`headway up` or `headway apply`), or release another: headway rollout start {service}"
        yield error("no-record", f"{service} {version}", what, fix)
