"""`headway doctor`: check an installation and suggest fixes."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import orjson

from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.doctor.collect import collect
from headway.doctor.diagnose import CHECKS, diagnose, well
from headway.doctor.facts import Facts
from headway.doctor.findings import Finding
from headway.endpoint import ServerAccess, find
from headway.format import counted, visible

_WIDTH: Final = 80
_LABEL: Final = 9


@click.command(epilog=examples("headway doctor", "headway doctor --json"))
@json_option
@options.server
def doctor(*, as_json: bool, url: str | None, creds: str | None, directory: Path) -> int:
    """Check a running installation and suggest fixes.

    It checks servers, clocks, the cluster, stream replicas, disk space, stranded work, lag, routes, workers, dead
    letters, modes of key files, and credentials. Exit code 0 if nothing is wrong, else 1. With the keys of the
    installation in --dir it sees all servers; without them it reports what it could not check.
    """
    return run(_doctor(find(url, creds, directory), directory, as_json=as_json))


async def _doctor(endpoint: ServerAccess, directory: Path, *, as_json: bool) -> int:
    facts = await collect(endpoint, directory)
    findings = diagnose(facts)
    if as_json:
        told = {
            "ok": well(findings),
            "url": facts.url,
            "servers": [server.name for server in facts.servers],
            "findings": [asdict(finding) for finding in findings],
            "checks": list(CHECKS),
        }
        click.echo(orjson.dumps(told).decode())
    else:
        click.echo(visible(render(facts, findings), lines=True))
    return 0 if well(findings) else 1


def render(facts: Facts, findings: list[Finding]) -> str:
    """Return the findings as text of 80 columns."""
    lines = []
    for finding in findings:
        lines += _wrapped(finding.severity.upper(), f"{finding.subject}: {finding.what}")
        lines += _wrapped("", f"fix: {finding.fix}") if finding.fix else []
    count = {kind: sum(finding.severity == kind for finding in findings) for kind in ("error", "warning", "note")}
    seen = f"{counted(len(facts.servers), 'server')}, " if facts.servers else ""
    seen += f"{counted(len(facts.streams), 'stream')}, {counted(len(facts.beats), 'worker')} at {facts.url}"
    told = ", ".join(counted(number, kind) for kind, number in count.items() if number)
    lines += ["", *textwrap.wrap(f"{seen}: {told or 'nothing wrong'}", _WIDTH)]
    return "\n".join(lines).lstrip("\n")


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    )
