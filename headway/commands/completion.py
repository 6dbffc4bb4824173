"""`headway completion`: click's own completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from headway.commands.base import examples


@click.command(
    epilog=examples(
        'eval "$(headway completion bash)"                          # in ~/.bashrc',
        'eval "$(headway completion zsh)"                           # in ~/.zshrc',
        "headway completion fish > ~/.config/fish/completions/headway.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the script that completes commands and options in SHELL."""
    script = get_completion_class(shell)
    assert script is not None  # click has one class for each of the choices
    click.echo(script(click.get_current_context().find_root().command, {}, "headway", "_HEADWAY_COMPLETE").source())
    return 0
