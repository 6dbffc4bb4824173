"""What users' type checkers make of the public surface."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SNIPPETS = "tests/slow/typing/public.py"

pytestmark = pytest.mark.timeout(300)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_mypy_finds_the_types_that_the_snippets_say():
    found = _run("mypy", "--strict", "--warn-unused-ignores", SNIPPETS)
    assert found.returncode == 0, found.stdout


def test_pyright_finds_the_types_that_the_snippets_say(tmp_path):
    pytest.importorskip("pyright")
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(ROOT / SNIPPETS)],
                "extraPaths": [str(ROOT)],
                "pythonVersion": "3.11",
                "enableTypeIgnoreComments": False,
                "reportUnnecessaryTypeIgnoreComment": "error",
            }
        )
    )
    found = _run("pyright", "--project", str(config), "--pythonpath", sys.executable)
    if (
        "Error: " in found.stderr
        and "summary" not in found.stdout
        and not found.stdout.strip().endswith("informations")
    ):
        pytest.skip(f"pyright cannot run here: {(found.stderr or found.stdout).strip()[-200:]}")
    assert found.returncode == 0, found.stdout + found.stderr
