"""The command in a process of its own: what works without extras, what a missing one says, what a shell completes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headway import extras

EXTRAS = {module for modules in extras.MODULES.values() for module in modules}


def without(modules: set[str], script: str) -> subprocess.CompletedProcess[str]:
    """Run Python where modules are not installed."""
    missing = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r} or name.split(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
    return subprocess.run(
        [sys.executable, "-c", missing + script], capture_output=True, text=True, timeout=60, check=False
    )


def command(*words: str) -> str:
    return f"sys.argv = ['headway', *{list(words)!r}]\nfrom headway.cli import main\nmain()"


def test_a_base_install_runs_workers():
    done = without(EXTRAS, "import headway.bus.worker.runner; from headway import Service")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words", ["call", "submit", "emit", "env", "docs", "worker", "completion", "dead ls", "dead show"]
)
def test_the_base_install_is_enough_for(words):
    done = without(EXTRAS, command(*words.split(), "--help"))
    assert done.returncode == 0, done.stderr
    assert f"Usage: headway {words}" in done.stdout


@pytest.mark.parametrize(
    ("words", "lacking", "installed"),
    [
        ("status", "control", "headway[control]"),
        ("rollout watch fax", "control", "headway[control]"),
        ("image ls", "control", "headway[control]"),
        ("up", "control", "headway[control]"),
        ("web --dev-issuer", "web", "headway[control,web]"),
        ("demo", "control", "headway[control,services]"),
    ],
)
def test_a_command_that_lacks_an_extra_is_one_error_with_one_install_command(words, lacking, installed):
    only_there = set(extras.MODULES[lacking]) - {"nats_server"}
    done = without(only_there, command(*words.split()))
    assert done.returncode == 2, done.stderr
    error, fix = done.stderr.strip().splitlines()
    assert error.startswith("error: this needs ")
    assert fix == f"fix: pip install '{installed}'"


def test_the_shell_is_told_commands_and_options_at_every_level():
    def completed(*words: str) -> list[str]:
        script = "import sys; sys.argv[0] = 'headway'; from headway.cli import main; main()"
        environment = {
            "_HEADWAY_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("headway", *words)),
            "COMP_CWORD": str(len(words)),
            "PATH": "",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return [line.split(",")[1] for line in done.stdout.splitlines()]

    assert "rollout" in completed("ro")
    assert {"start", "undo", "watch"} <= set(completed("rollout", ""))
    assert "--steps" in completed("rollout", "start", "--")
    assert not {"promote", "rollback"} & set(completed("")), "former spellings are not offered"
