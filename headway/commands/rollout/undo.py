"""`headway rollout undo`: take a service back."""

from __future__ import annotations

from pathlib import Path

import click

from headway.commands import options
from headway.commands.base import examples, json_option, run
from headway.commands.rollout.answer import answer, from_image
from headway.control.store import Control, version_key
from headway.deployer.rollout import requests
from headway.endpoint import ServerAccess, require


@click.command(epilog=examples("headway rollout undo fax", "headway rollout undo fax --to v1"))
@click.argument("service")
@click.option("--to", help="Version to go back to.  [default: the one before]")
@click.option("--wait", is_flag=True, help="Return when nothing is left to do.")
@json_option
@options.server
def undo(
    *, service: str, to: str | None, wait: bool, as_json: bool, url: str | None, creds: str | None, directory: Path
) -> int:
    """Take SERVICE back: the rollout under way, the last one, or to any version that is kept.

    The traffic goes back first, within milliseconds if the version is still warm. Then the other version
    takes over what is queued.
    """

    async def do(endpoint: ServerAccess) -> int:
        async with await endpoint.connect("rollback") as bus:
            control = Control(bus)
            await control.refresh()
            if to is not None and (service, to) not in control.versions:  # long gone, but its image is kept
                made = from_image(control, directory, service, to).model_copy(update={"phase": "retired"})
                await control.put(version_key(service, to), made)
            record = await requests.rollback(control, service, to)
            if not as_json:
                target = record.version if record.urgent and record.abort is None else record.before
                click.echo(f"rolling {service} back to {target or 'nothing'}")
            return await answer(control, record, wait=wait, as_json=as_json)

    return run(do(require(url, creds, directory)))
