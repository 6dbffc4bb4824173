"""The `headway` command: its list of commands, and how it reports their errors.

A command's module is imported when that command runs, and the bus when something goes wrong. So the base install
suffices for `headway worker`, and help is fast.
"""

from __future__ import annotations

import os
import sys

import click

from headway.commands.base import HELP, INTERRUPTED, LazyGroup
from headway.format import visible

_SECTIONS = {
    "Basic Commands": {
        "new": "Make a new project: services, tests, a page.",
        "dev": "Run a project while you write it: edits are served at once.",
        "up": "Start a server and the services of headway.yaml or of apps.",
        "status": "Show versions, workers, queues and latencies.",
        "tenants": "Show what each tenant has queued, in hand and used.",
        "console": "Print the address of the operator's page.",
        "doctor": "Check a running installation and suggest fixes.",
        "demo": "Run the three reference services with real work and summarize.",
    },
    "Service Commands": {
        "call": "Call an operation and print its reply.",
        "submit": "Submit a durable job.",
        "emit": "Publish an event.",
        "dead": "List, show, replay and purge dead letters.",
        "schedules": "List, start, pause and resume periodic jobs.",
    },
    "Release Commands": {
        "image": "Build, compare, verify, promote and remove images.",
        "deploy": "Roll out a version; short for `rollout start`.",
        "rollout": "Watch, promote, pause, abort and undo rollouts.",
        "scale": "Explain the number of workers; try policies on recorded load.",
    },
    "Operator Commands": {
        "init": "Create keys and configuration for servers that run elsewhere.",
        "apply": "Apply headway.yaml to servers that run elsewhere.",
        "records": "List control records that cannot be read, and restore them.",
        "audit": "List and export what operators did.",
        "backup": "Back up an installation, and restore it.",
        "env": 'Print exports for the nats CLI: eval "$(headway env)".',
        "docs": "Write the AsyncAPI 3 document of a service.",
        "completion": "Print a script that completes commands in a shell.",
    },
    "Process Commands (`headway up` runs these for you)": {
        "worker": "Run one worker of a service.",
        "scaler": "Keep the right number of workers.",
        "deployer": "Move rollouts through their steps.",
        "web": "Serve browsers: sessions, changes, presence, pages.",
    },
}
_MOVED = {
    "promote": ("rollout", "promote"),
    "pause": ("rollout", "pause"),
    "resume": ("rollout", "resume"),
    "abort": ("rollout", "abort"),
    "rollback": ("rollout", "undo"),
    "history": ("rollout", "history"),
    "promote-image": ("image", "promote"),
    "restore": ("backup", "restore"),
}
"""Spellings of version 0.1 that scripts may still use; they work, with a note that names the new one."""


@click.group(cls=LazyGroup, package="headway.commands", sections=_SECTIONS, moved=_MOVED, context_settings=HELP)
@click.version_option(package_name="headway")
def headway() -> None:
    """Python microservices on a NATS message bus.

    Commands find the server by --url, HEADWAY_NATS_URL, or what `headway up` left in .headway.
    """


def main() -> None:
    """Run the command line. Errors become one line, a remedy and an exit code (headway/exits.py)."""
    try:
        code = headway.main(prog_name="headway", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has left (`headway dead ls | head`): end silently.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("HEADWAY_DEBUG"):
            raise
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """Print an error as one line, and return its exit code. Of a group of errors that is the telling one."""
    from headway import exits, extras
    from headway.bus.errors import HeadwayError

    told = exits.telling(error)
    if isinstance(told, click.ClickException):
        told.show()
        return told.exit_code
    found = exits.find(told)
    if found is None and isinstance(told, ModuleNotFoundError):
        found = extras.missing(told.name or "", sys.argv[1:])
    if found is None:
        remedy = "HEADWAY_DEBUG=1 shows the traceback"
        found = HeadwayError(f"unexpected {type(told).__name__}: {told}".removesuffix(": "), remedy=remedy)
    click.echo(visible(exits.describe(found), lines=True), err=True)
    return exits.code_of(found)
