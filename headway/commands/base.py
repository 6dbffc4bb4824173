"""What all commands share: groups that load commands on demand, examples in help texts, the event loop."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import click

INTERRUPTED: Final = 130
"""128 + SIGINT, as in shells."""
HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 80}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class LazyGroup(click.Group):
    """A group with the names and summaries of its commands, which imports a command when it runs.

    The command `show-all` of the package `headway.commands.image` is the variable `show_all` of
    `headway.commands.image.show_all`.

    Args:
        package: the package of the commands.
        sections: summaries by name, by their heading in the help.
        moved: former names, each with its replacement.
        bare: the command to run if the first word is a path, for older scripts.
        options: as of `click.Group`.
    """

    def __init__(
        self,
        *,
        package: str,
        sections: Mapping[str, Mapping[str, str]],
        moved: Mapping[str, tuple[str, ...]] | None = None,
        bare: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sections = sections
        self._package = package
        self._moved = moved or {}
        self._bare = bare

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in the order of the sections."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        attribute = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"{self._package}.{attribute}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; a former spelling works, with a note."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and name not in self.list_commands(ctx):
            former = self._moved.get(name)
            if former is None and self._bare is not None and (os.sep in name or name.endswith(".tar")):
                former = (self._bare, name)
            if former is None:
                close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
                ctx.fail(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
            was, now = (" ".join((ctx.command_path, *words)) for words in ((name,), former))
            click.echo(f"note: `{was}` is now `{now}`", err=True)
            args = [*former, *args[1:]]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the names and summaries without importing the commands."""
        width = max(len(name) for section in self.sections.values() for name in section)
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in commands.items()])


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help, ready to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def run(work: Coroutine[Any, Any, int | None]) -> int:
    """Run a command's coroutine. Its result is the exit code; None means 0."""
    import asyncio

    return asyncio.run(work) or 0
