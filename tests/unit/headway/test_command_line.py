"""The command line as a whole: its groups, former spellings, help, completion, and what a missing extra says."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headway import cli, extras
from headway.bus.errors import UsageError
from headway.commands.base import LazyGroup


def commands(group: LazyGroup, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below a group, with the words that name them."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            yield (*path, name), command
            if isinstance(command, LazyGroup):
                yield from commands(command, *path, name)


ALL = list(commands(cli.headway))


def run(*words: str):
    return CliRunner().invoke(cli.headway, words, prog_name="headway")


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_says_in_one_short_sentence_what_it_does_and_shows_an_example(path, command):
    first = re.split(r"(?<=[.!?])\s", (command.help or "").strip())[0]
    assert 2 <= len(first.split()) <= 20, first
    assert isinstance(command, LazyGroup) or f"headway {' '.join(path[:-1])}".strip() in (command.epilog or "")


def test_a_summary_fits_one_line_of_80_columns():
    for group in (cli.headway, *(command for _, command in ALL if isinstance(command, LazyGroup))):
        width = max(len(name) for section in group.sections.values() for name in section)
        for section in group.sections.values():
            assert all(width + 4 + len(summary) <= 80 for summary in section.values()), section


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("promote", "rollout promote"),
        ("pause", "rollout pause"),
        ("resume", "rollout resume"),
        ("abort", "rollout abort"),
        ("rollback", "rollout undo"),
        ("history", "rollout history"),
        ("promote-image", "image promote"),
        ("restore", "backup restore"),
    ],
)
def test_a_former_spelling_works_says_the_new_one_and_is_gone_from_help(former, now):
    found = run(former, "--help")
    assert found.exit_code == 0
    assert found.stderr.strip() == f"note: `headway {former}` is now `headway {now}`"
    assert f"Usage: headway {now} " in found.stdout
    assert not re.search(rf"^  {former} ", run("--help").stdout, re.MULTILINE)


def test_a_path_after_backup_means_what_it_meant():
    found = run("backup", "/backups/monday.tar", "--help")
    assert "is now `headway backup create /backups/monday.tar`" in found.stderr
    assert "Usage: headway backup create" in found.stdout


def test_a_misspelt_command_gets_a_suggestion_in_every_group():
    assert "No such command 'stauts'. Did you mean 'status'?" in run("stauts").stderr
    assert "No such command 'strat'. Did you mean 'start'?" in run("rollout", "strat").stderr
    assert run("backup", "monday").exit_code == 2, "a word that is no path is not taken for a target"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell):
    found = run("completion", shell)
    assert found.exit_code == 0
    assert "_HEADWAY_COMPLETE" in found.stdout


def test_the_extras_are_those_of_the_package():
    provided = set(importlib.metadata.metadata("headway").get_all("Provides-Extra"))
    assert set(extras.MODULES) <= provided


@pytest.mark.parametrize(
    ("words", "module", "installed"),
    [
        (["status"], "rich", "headway[control]"),
        (["web", "--dev-issuer"], "httpx", "headway[control,web]"),
        (["web"], "jwt", "headway[control,web]"),
        (["up", "app:x", "--console"], "starlette", "headway[control,web]"),
        (["scaler", "--driver", "docker"], "cronsim", "headway[control,docker]"),
        (["scaler", "--driver", "docker"], "aiodocker", "headway[control,docker]"),
        (["image", "build", ".", "--docker"], "packaging", "headway[control,docker]"),
        (["scale", "simulate", "--picture", "x.svg"], "matplotlib.figure", "headway[charts,control]"),
        (["demo"], "PIL", "headway[control,services]"),
        (["worker", "headway.services.fax:fax"], "PIL", "headway[services]"),
    ],
)
def test_a_missing_extra_is_told_with_the_one_command_that_installs_all_that_is_needed(words, module, installed):
    found = extras.missing(module, words)
    assert found is not None
    assert found.remedy == f"pip install '{installed}'"


def test_a_module_that_no_extra_brings_is_no_missing_extra():
    assert extras.missing("my_library", ["worker", "app:x"]) is None


def test_up_with_pages_is_refused_before_anything_starts_if_the_extra_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs httpx") as caught:
        extras.check("web")
    assert caught.value.remedy == "pip install 'headway[control,web]'"
