"""Lists public functions whose docstring begins with more than 20 words, or not with a command such as "Return".

.venv/bin/python scripts/docstrings.py            # how many by file
.venv/bin/python scripts/docstrings.py --each     # each of them
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = (
    "bus", "broker", "control", "images", "scaler", "deployer", "scheduler", "clientsync", "services", "headway",
    "bench",
)  # fmt: skip
LONGEST: Final = 20
"""Words."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A docstring that is to be written anew."""

    path: str
    line: int
    what: str


def main(arguments: list[str]) -> int:
    """Print what is found, and return 1 if there is anything."""
    found = [*long(), *moods()]
    if "--each" in arguments:
        for one in sorted(found, key=lambda one: (one.path, one.line)):
            print(f"{one.path}:{one.line}: {one.what}")
    else:
        for path, count in Counter(one.path for one in found).most_common():
            print(f"{count:4}  {path}")
    print(f"{len(found):4}  in all")
    return bool(found)


def long() -> Iterator[Finding]:
    """Find public functions whose docstring's first sentence has too many words."""
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        if path.parent.is_symlink() or "node_modules" in path.parts:
            continue
        for function in _public(ast.parse(path.read_text())):
            if (words := len(summary(ast.get_docstring(function) or "").split())) > LONGEST:
                what = f"{function.name}: the summary has {words} words"
                yield Finding(str(path.relative_to(ROOT)), function.lineno, what)


def summary(text: str) -> str:
    """Return a docstring's first sentence."""
    return re.split(r"\n\s*\n|(?<=[.!?])\s", text.strip(), maxsplit=1)[0]


def _public(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            yield child
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public(child)


def moods() -> Iterator[Finding]:
    """Find docstrings that do not begin with a verb in the imperative (ruff's D401)."""
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--select", "D401", "--output-format", "concise", "--no-cache", *PACKAGES],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr)
    for path, line, what in re.findall(r"^(\S+\.py):(\d+):\d+: (.*)$", done.stdout, re.MULTILINE):
        yield Finding(path, int(line), what)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
