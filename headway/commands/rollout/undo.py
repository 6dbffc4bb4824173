"""`headway rollout undo`: roll a service back."""

from __future__ import annotations

from pathlib import Path

import click

from headway.acting import audited
from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import answer, from_image
from headway.control.store import Control, version_key
from headway.deployer.rollout import requests
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway rollout undo fax", "headway rollout undo fax --to v1"))
@click.argument("service")
@click.option("--to", help="Version to return to.  [default: the previous one]")
@click.option("--wait", is_flag=True, help="Return when the rollback is complete.")
@json_option
@options.server
def undo(
    *, service: str, to: str | None, wait: bool, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Roll SERVICE back: undo the current or last rollout, or return to any version that is kept.

    The traffic goes back first, within milliseconds if the version is still warm. Then that version takes over the
    queued jobs.
    """

    async def do(endpoint: ServerAccess) -> int:
        async with await endpoint.connect("rollback") as bus:
            control = Control(bus)
            await control.refresh()
            async with audited(bus):
                if to is not None and (service, to) not in control.versions:  # retired long ago, but its image is kept
                    made = from_image(control, directory, service, to).model_copy(update={"phase": "retired"})
                    await control.put(version_key(service, to), made)
                record = await requests.rollback(control, service, to)
            if not as_json:
                target = record.version if record.urgent and record.abort is None else record.before
                click.echo(f"rolling {service} back to {target or 'nothing'}")
            return await answer(control, record, wait=wait, as_json=as_json)

    return run(do(require(url, creds, directory)))
