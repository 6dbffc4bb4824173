"""Changes the pure modules line by line, and counts how many of the changes their unit tests notice.

    python scripts/mutants.py                 # all pure modules
    python scripts/mutants.py bus/retry.py    # these
    python scripts/mutants.py --changed-from origin/main   # those of them that differ, and those whose tests do

mutmut makes the mutants. It knows no links, so it works on a copy in build/mutants/ where each part is a folder of
`headway/`, as in a wheel (docs/decisions/0025-mutation-testing.md). Exit codes: 0 enough are killed, and each
survivor is in tests/mutants.toml with its reason; 1 otherwise; 2 the arguments are wrong; 5 mutmut failed.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
COPY: Final = ROOT / "build" / "mutants"
KNOWN: Final = ROOT / "tests" / "mutants.toml"
PARTS: Final = ("bus", "broker", "control", "images", "scaler", "deployer", "clientsync", "scheduler", "services")
# What decides: numbers, comparisons, and/or, +/-, not, conditions. What is said (texts, errors) is left alone.
OPERATORS: Final = (
    "operator_number",
    "operator_remove_unary_ops",
    "operator_augmented_assignment",
    "operator_keywords",
    "operator_swap_op",
    "operator_if_exp",
)
_MUTMUT: Final = f"""
from mutmut.mutation import mutators
mutators.mutation_operators[:] = [pair for pair in mutators.mutation_operators if pair[1].__name__ in {OPERATORS}]
from mutmut.__main__ import cli
cli()
"""
ENOUGH: Final = 0.9
"""The part of the mutants that has to be killed."""
KILLED: Final = {1: "killed", 3: "killed", 36: "timeout", 24: "timeout", -24: "timeout", 152: "timeout", 255: "timeout"}
"""What mutmut's exit codes mean; a mutant that never ends is noticed, too."""
UNTESTED: Final = {33: "no tests", 5: "no tests"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one place.

    Attributes:
        name: mutmut's, without the number, which changes with each line above.
        module: the file, as in the checkout.
        fate: "killed", "timeout", "survived" or "no tests".
        diff: the lines that differ, without context.
    """

    name: str
    module: str
    fate: str
    diff: str

    @property
    def noticed(self) -> bool:
        """Whether a test failed."""
        return self.fate in {"killed", "timeout"}


def main(arguments: list[str]) -> int:
    """Run it, print what survived, and return the exit code."""
    known = tomllib.loads(KNOWN.read_text())
    modules: dict[str, list[str]] = known["modules"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="such as bus/retry.py; all of tests/mutants.toml by default")
    parser.add_argument("--changed-from", metavar="COMMIT", help="only what differs from this commit")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="processes at a time")
    options = parser.parse_args(arguments)
    wanted = options.modules or list(modules)
    if unknown := set(wanted) - set(modules):
        parser.error(f"{', '.join(sorted(unknown))}: not in {KNOWN.relative_to(ROOT)}")
    if options.changed_from:
        wanted = changed(wanted, modules, options.changed_from)
    reasons = {(entry["module"], entry["diff"]): entry["reason"] for entry in known.get("survivors", [])}
    mutants: list[Mutant] = []
    for module in wanted:
        found = run(module, modules[module], options.workers)
        if not found:
            print(f"mutmut made no mutants of {module}", file=sys.stderr)
            return 5
        mutants.extend(found)
        print(line(module, found), flush=True)
        for mutant in sorted((one for one in found if not one.noticed), key=lambda one: one.name):
            reason = reasons.get((mutant.module, mutant.diff), "NO REASON IS GIVEN")
            print(f"  {mutant.fate}: {mutant.name}: {mutant.diff}\n    {reason}", flush=True)
    closed = [mutant for mutant in mutants if mutant.module not in known["open"]]
    return verdict(closed, reasons, wanted)


def changed(modules: Iterable[str], tests: dict[str, list[str]], since: str) -> list[str]:
    """Return the modules that differ from a commit, or one of whose tests does."""
    listed = subprocess.run(
        ["git", "diff", "--name-only", since], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [module for module in modules if {module, *tests[module]} & set(listed)]


def run(module: str, tests: list[str], workers: int) -> list[Mutant]:
    """Return all mutants of a module and what became of them."""
    _copy(f"headway/{module}", tests)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "false"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", _MUTMUT, "run", "--max-children", str(workers)],
        cwd=COPY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    result = COPY / "mutants" / "headway" / f"{module}.meta"
    if done.returncode or not result.exists():
        print(done.stdout[-4000:], file=sys.stderr)
        return []
    fates = json.loads(result.read_text())["exit_code_by_key"]
    sources = _sources((COPY / "mutants" / "headway" / module).read_text())
    io = tuple(tomllib.loads(KNOWN.read_text()).get("io", {}).get(module, ()))
    mutants = [_mutant(module, key, code, sources) for key, code in fates.items()]
    return [mutant for mutant in mutants if not mutant.name.startswith(io or ("\0",))]


def _copy(path: str, tests: list[str]) -> None:
    """Lay out a copy that mutmut can work on, with one module to change."""
    shutil.rmtree(COPY, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "node_modules", "browser")
    for part in ("headway", "tests/support"):
        shutil.copytree(ROOT / part, COPY / part, ignore=ignore)
    for file in ("tests/__init__.py", "tests/conftest.py", *tests):
        (COPY / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, COPY / file)
    (COPY / "pyproject.toml").write_text(f"""
[tool.mutmut]
source_paths = ["headway"]
only_mutate = ["{path}"]
do_not_mutate_patterns = ['^\\s*raise ', '_log\\.', 'remedy=']
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-profile=mutants"]
pytest_add_cli_args_test_selection = {json.dumps(tests)}
use_git_change_detection = false
track_dependencies = false

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
addopts = "--import-mode=importlib"
pythonpath = ["."]
""")


def _sources(text: str) -> dict[str, list[str]]:
    """Return the lines of each function that mutmut wrote: the original ones and their mutants."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for row in text.splitlines():
        stripped = row.strip()
        if stripped.startswith(("def x", "async def x")):
            name = stripped.removeprefix("async ").removeprefix("def ").partition("(")[0]
            current = found.setdefault(name, [])
        elif row and not row.startswith((" ", ")")):
            current = []
        else:
            current.append(stripped)
    return found


def _mutant(module: str, key: str, code: int | None, sources: dict[str, list[str]]) -> Mutant:
    function = key.rpartition(".")[2]
    base = function.rpartition("__mutmut_")[0]
    before, after = sources.get(f"{base}__mutmut_orig", []), sources.get(function, [])
    rows = [
        row
        for row in difflib.unified_diff(before, after, lineterm="", n=0)
        if row[:1] in "+-" and row[1:] and not row.startswith(("+++", "---"))
    ]
    fate = KILLED.get(code or 0) or UNTESTED.get(code or 0) or ("survived" if code == 0 else f"exit code {code}")
    return Mutant(base.lstrip("x").lstrip("_ǁ").replace("ǁ", "."), module, fate, " ".join(rows))


def line(module: str, mutants: list[Mutant]) -> str:
    """Return a module's line of the table."""
    killed = sum(mutant.noticed for mutant in mutants)
    return f"{module:28} {len(mutants):5} mutants  {killed / len(mutants):6.1%} killed"


def verdict(mutants: list[Mutant], reasons: dict[tuple[str, str], str], modules: list[str]) -> int:
    """Print the sum, and return 0 if few survive and each of them has its reason."""
    if not mutants:
        print("no module whose survivors count has changed")
        return 0
    alive = [mutant for mutant in mutants if not mutant.noticed]
    unexplained = [mutant for mutant in alive if (mutant.module, mutant.diff) not in reasons]
    here = {(mutant.module, mutant.diff) for mutant in alive}
    for module, diff in sorted(reasons.keys() - here):
        if module in modules:
            print(f"no survivor any more, take it out of {KNOWN.name}: {module}: {diff}")
    rate = 1 - len(alive) / len(mutants)
    print(f"{len(mutants)} mutants, {rate:.1%} killed: {dict(Counter(mutant.fate for mutant in mutants))}")
    if unexplained:
        print(f"{len(unexplained)} survivors without a reason: add a test, or the reason to {KNOWN.relative_to(ROOT)}")
    return 0 if rate >= ENOUGH and not unexplained else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
