"""What holds for the repository as a whole."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from headway.bus import errors

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "bus",
    "broker",
    "control",
    "images",
    "scaler",
    "deployer",
    "clientsync",
    "scheduler",
    "services",
    "headway",
)
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git clone")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def error_classes() -> list[type[errors.HeadwayError]]:
    errors_of = ("broker", "images", "clientsync", "scaler", "deployer", "backup", "console")
    for name in (
        *(f"headway.{package}.errors" for package in errors_of),
        "headway.installation",
        "headway.extras",
        "headway.console.errors",
    ):
        importlib.import_module(name)
    found: list[type[errors.HeadwayError]] = []
    todo: list[type[errors.HeadwayError]] = [errors.HeadwayError]
    while todo:
        kind = todo.pop()
        if kind.__module__.startswith("headway.") and not kind.__module__.startswith("headway.services."):
            found.append(kind)
        todo.extend(kind.__subclasses__())
    return sorted(set(found), key=lambda kind: kind.__name__)


def markdown() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_tracked_files_name_no_folder_of_one_machine():
    # Put together here, so that this file does not find itself.
    machine = re.compile("|".join(f"/{name}/" for name in ("work", "root", "home/[a-z]+")))
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if path.suffix not in {".lock", ".png"}
        for match in [machine.search(path.read_text(errors="replace"))]
        if match
    ]
    assert not found


def test_tracked_files_hold_no_seed():
    # A NATS seed: S, its kind, 56 characters more of base32. Uppercase words of that length do not happen otherwise.
    seed = re.compile(r"\bS[ACNOUX][A-Z2-7]{56}\b")
    assert not [path.name for path in tracked() if seed.search(path.read_text(errors="replace"))]


def test_a_tool_that_a_test_needs_is_installed_in_ci_or_fails_there():
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)}
    skipped = re.compile(r"pytest\.skip\(f?[\"'][^\n]*is not installed")
    assert not [path.name for path, text in tests.items() if skipped.search(text)]
    install = re.compile(r"apt(?:-get)? install ([a-z][a-z0-9-]*)")
    needed = {package for text in tests.values() for package in install.findall(text)} - {"git"}  # it made the clone
    assert "faketime" in needed
    script = (ROOT / ".ci/run").read_text()
    assert not [package for package in sorted(needed) if not re.search(rf"[( ]{re.escape(package)}[ )]", script)]


def test_what_a_server_writes_is_not_tracked():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".headway/", ".venv/", ".tools/"} <= set(ignored)


def test_every_package_is_typed_and_shipped():
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]) == set(PACKAGES)
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "headway"])
def test_every_part_is_a_link_in_headway_and_goes_there_in_a_wheel(package):
    link = ROOT / "headway" / package
    assert link.is_symlink()
    assert link.readlink() == Path("..") / package
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"][package] == f"headway/{package}"
    assert PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"][package]


def test_no_two_errors_share_a_code():
    by_code: dict[str, set[str]] = {}
    for kind in error_classes():
        by_code.setdefault(kind.code, set()).add(kind.__name__)
    # A handler raises Reject, its caller sees Rejected: one thing, seen from two sides.
    shared = {code: names for code, names in by_code.items() if len(names) > 1 and names != {"Reject", "Rejected"}}
    assert not shared


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_an_error_has_a_code_a_status_and_a_sentence(kind):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert 400 <= kind.status < 600
    assert kind.__doc__
    assert kind.default_remedy == "" or kind.default_remedy[0].islower()
    assert str(kind("it broke", remedy="mend it")) == "it broke (mend it)"


def test_the_drawing_of_the_error_tree_is_the_tree():
    drawn = re.findall(r"^ +[│├└─ ]*([A-Z][A-Za-z]+)", errors.__doc__ or "", re.MULTILINE)
    real = [kind.__name__ for kind in error_classes() if kind.__module__ == "headway.bus.errors"]
    assert sorted(drawn) == sorted(real)


def test_the_error_reference_lists_every_error_with_its_code_and_status():
    page = (ROOT / "docs/reference/errors.md").read_text()
    rows = {tuple(row) for row in re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \|", page, re.MULTILINE)}
    assert rows == {(kind.__name__, kind.code, str(kind.status)) for kind in error_classes()}


def test_the_readmes_service_is_the_example():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code == (ROOT / "examples/hello.py").read_text()
    assert len(code.splitlines()) <= 22


def test_the_changelog_knows_the_version():
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_docs_is_valid_and_imports_what_exists(page):
    for code in re.findall(r"```python[^\n]*\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "headway":
                module = importlib.import_module(node.module)
                submodules = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
                assert all(hasattr(module, name.name) or name.name in submodules for name in node.names)


def test_no_file_has_the_marks_of_an_unfinished_merge():
    # Built from parts, so that this file has none.
    marks = re.compile(rb"^(?:" + b"<" * 7 + rb"|" + b">" * 7 + rb") ", re.MULTILINE)
    assert not [path for path in tracked() if marks.search(path.read_bytes())]
