"""The `headway` command: which commands there are, and how their errors leave.

A command's module is imported when that command runs, and the bus when something goes wrong. So the base install is
enough for `headway worker`, and help is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Coroutine
from typing import Any, Final

import click

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells report it."""

_COMMANDS: Final = {
    "up": ("headway.commands.up", "Start a server and services, from headway.yaml or the apps named."),
    "status": ("headway.commands.status", "Show versions, workers, queues and latencies."),
    "doctor": ("headway.commands.doctor", "Check a running installation, and say what to do."),
    "scale": ("headway.commands.scale", "Show why there are so many workers; try policies on load."),
    "init": ("headway.commands.init", "Make keys, and what servers that run elsewhere start from."),
    "apply": ("headway.commands.apply", "Make headway.yaml so on servers that run elsewhere."),
    "call": ("headway.commands.talk", "Call an operation and print its reply."),
    "submit": ("headway.commands.talk", "Submit a durable job."),
    "emit": ("headway.commands.talk", "Publish an event."),
    "dead": ("headway.commands.dead", "List, show, replay and purge dead letters."),
    "records": ("headway.commands.records", "List control records that cannot be read, and mend them."),
    "env": ("headway.commands.env", 'Print exports for the nats CLI: eval "$(headway env)".'),
    "backup": ("headway.commands.backup", "Save all streams, keys, routes and images."),
    "restore": ("headway.commands.backup", "Make an installation of a backup."),
    "docs": ("headway.commands.docs", "Write the AsyncAPI 3 document of a service."),
    "scaler": ("headway.commands.scaler", "Keep the right number of workers; `up` runs one."),
    "image": ("headway.commands.image", "Build, compare, check and remove images of versions."),
    "promote-image": ("headway.commands.promote_image", "Bring a proven image to another environment."),
    "deploy": ("headway.commands.rollout", "Roll out a version, step by step and judged."),
    "promote": ("headway.commands.rollout", "Go to the next step of a rollout now."),
    "pause": ("headway.commands.rollout", "Go no step forward for now."),
    "resume": ("headway.commands.rollout", "Go on after a pause."),
    "abort": ("headway.commands.rollout", "Send all traffic back to the version before."),
    "rollback": ("headway.commands.rollout", "Take a service back to a version that is kept."),
    "history": ("headway.commands.rollout", "Show a service's rollouts and why they went as they did."),
    "rollout": ("headway.commands.rollout", "Watch a rollout live."),
    "deployer": ("headway.commands.deployer", "Walk releases through their steps; `up` runs one."),
    "worker": ("headway.commands.worker", "Run one worker of a service."),
    "web": ("headway.commands.web", "Keep browsers up to date: sessions, changes, presence, pages."),
    "console": ("headway.commands.console", "Print the address of the operator's page."),
    "demo": ("headway.commands.demo", "Run all three reference services with real work, and sum up."),
}
_EXTRA = {
    "yaml": "control",
    "rich": "control",
    "nats_server": "control",
    "packaging": "control",
    "cryptography": "control",
    "aiodocker": "docker",
    "matplotlib": "charts",
    "PIL": "services",
    "numpy": "services",
    "starlette": "web",
    "uvicorn": "web",
    "jwt": "web",
    "httpx": "control",
    "scipy": "control",
}


class _Commands(click.Group):
    """Knows names and summaries without importing the commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="headway")
def headway() -> None:
    """Python microservices on a NATS message bus.

    Commands find the server by --url, HEADWAY_NATS_URL, or what `headway up` left in .headway.
    """


def main() -> None:
    """Run the command line. Errors become one line, a remedy and an exit code (headway/exits.py)."""
    try:
        code = headway.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`headway dead ls | head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("HEADWAY_DEBUG"):
            raise
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def examples(*lines: str) -> str:
    """The end of a command's help: lines that can be copied."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def run(work: Coroutine[Any, Any, int | None]) -> int:
    """Run a command's coroutine; its result is the exit code, None means 0."""
    import asyncio

    return asyncio.run(work) or 0


def _explain(error: Exception) -> int:
    """Show an error in a line, and return its exit code."""
    from headway import exits
    from headway.bus.errors import HeadwayError, UsageError

    found = exits.find(error)
    if found is None and isinstance(error, ModuleNotFoundError):
        extra = _EXTRA.get((error.name or "").split(".")[0])
        if extra is not None:
            found = UsageError(f"this needs {error.name}", remedy=f"pip install 'headway[{extra}]'")
    if found is None:
        remedy = "HEADWAY_DEBUG=1 shows the traceback"
        found = HeadwayError(f"unexpected {type(error).__name__}: {error}", remedy=remedy)
    click.echo(exits.describe(found), err=True)
    return exits.code_of(found)
