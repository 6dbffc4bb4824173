"""The process that tries edited services, and declares the new revision of those that can be imported.

    python -m headway.reload.child URL DATA_DIRECTORY  <  one `Ask` as JSON  >  one `Report` as JSON

A fresh process, because modules cannot be imported twice reliably. It is started ahead of the edit and waits for its
input, so that only the services are left to import.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from itertools import dropwhile
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from headway.broker.broker import Broker
from headway.broker.identity import KEY_FILE
from headway.bus.service import Service
from headway.config import Config
from headway.declare import check, redeclare
from headway.endpoint import credentials
from headway.exits import describe, find
from headway.reload.modules import files_of

_TIMEOUT: Final = 20.0


class Ask(BaseModel):
    """What to try.

    Attributes:
        config: the configuration with the services to try.
        revision: of the working tree.
    """

    config: Config
    revision: str


class Report(BaseModel):
    """What came of it.

    Attributes:
        errors: by service, why it cannot be used. The new revision of all others is declared.
        files: the project's files of each service that was imported.
        said: lines that concern the user.
    """

    errors: dict[str, str] = {}
    files: dict[str, frozenset[Path] | None] = {}
    said: list[tuple[str, str]] = []


async def attempt(ask: Ask, broker: Broker) -> Report:
    """Import services, and declare their revision.

    Args:
        ask: what to try.
        broker: the server.
    """
    report, services, root = Report(), dict[str, Service](), Path.cwd()
    for name, wanted in ask.config.services.items():
        try:
            services |= check(ask.config.model_copy(update={"services": {name: wanted}}))
        except Exception as error:
            report.errors[name] = shown(error, root)
    apps = {name: ask.config.services[name].app for name in services}
    report.files = files_of(apps, dict(sys.modules), root.resolve())
    undeclared = set(services)
    try:
        async with asyncio.timeout(_TIMEOUT), await broker.connect("operator", name="dev") as bus:
            for name, service in services.items():
                await redeclare(ask.config, service, bus, ask.revision, lambda *line: report.said.append(line))
                undeclared.discard(name)
    except Exception as error:
        report.errors |= dict.fromkeys(undeclared, shown(error, root))
    return report


def shown(error: Exception, root: Path) -> str:
    """Return an error as its author needs it: from the first frame in the project on.

    Args:
        error: what the import raised.
        root: folder of the project.
    """
    found = find(error)
    if found is not None:
        return describe(found)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = list(dropwhile(lambda frame: not Path(frame.filename).is_relative_to(root), frames))
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(theirs)] if theirs else []
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()


async def _serve(url: str, store: Path) -> Report | None:
    """Be ready, wait for the question, and answer it; None if there is none."""
    keys = (store / KEY_FILE).exists()
    broker = Broker.external(url, creds=None if keys else credentials(None), dir=store if keys else None)
    try:
        text = await asyncio.to_thread(sys.stdin.buffer.read)
        return await attempt(Ask.model_validate_json(text), broker) if text else None
    finally:
        await broker.close()


def main(url: str, store: str) -> int:
    """Read the question, and write the report. What the service prints while it is imported goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)
    report = asyncio.run(_serve(url, Path(store)))
    with os.fdopen(out, "wb") as file:
        file.write(b"" if report is None else report.model_dump_json().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
