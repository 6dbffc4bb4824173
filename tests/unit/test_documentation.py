"""What the pages say exists does exist, and every page is on the site."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

import headway
from headway.config import ServerConfig, ServiceConfig, WebConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
MENTION = re.compile(r"`([\w.-]+(?:/[\w.@-]+)*/?)(?::([A-Za-z_][\w.]*))?`")


@cache
def names(path: Path) -> frozenset[str]:
    """The names that a Python module defines: functions, classes, methods, constants, as `Class.method`."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(path.read_text()).body, "")
    return frozenset(found)


def mentions(page: Path) -> list[tuple[str, str | None]]:
    """Files and folders that a page mentions in backticks, each with the name behind the colon if there is one."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [
        (path, name or None)
        for path, name in MENTION.findall(text)
        if path.split("/")[0] in TOP and ("/" in path.rstrip("/") or path.endswith("/"))
    ]


def test_the_security_page_names_each_attack_and_a_test_for_each_line_of_its_tables():
    page = ROOT / "docs/security.md"
    named = {name for _, name in mentions(page)}
    attacks = {
        name for path in (ROOT / "tests/attacks").glob("test_*.py") for name in names(path) if name.startswith("test_")
    }
    assert attacks <= named
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and " | " in line]
    assert [row for row in rows if "tests/" not in row and "held by" not in row and "tests above" not in row] == []


def missing(page: Path) -> list[str]:
    """What a page mentions and the checkout does not have."""
    lost = []
    for mention, name in mentions(page):
        path = ROOT / mention
        if not path.exists():
            lost.append(mention)
        elif name is not None and name not in names(path):
            lost.append(f"{mention}:{name}")
    return lost


def test_the_map_names_enough_to_be_one():
    found = mentions(ROOT / "ARCHITECTURE.md")
    assert len(found) > 60
    assert sum(name is not None for _, name in found) > 25


def test_a_file_or_name_that_is_gone_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`bus/nowhere.py`, `bus/retry.py:Retry`, `bus/retry.py:Nothing` and `bus/client/bus.py:Bus.submit`\n"
    )
    assert missing(page) == ["bus/nowhere.py", "bus/retry.py:Nothing"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_name_that_a_page_mentions_exists(page):
    assert not missing(page)


def nav() -> list[str]:
    """The pages in the site's navigation. The file has no tags that a safe loader refuses."""

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [page for value in values for page in pages(value)]

    return pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


def test_every_page_of_the_docs_is_in_the_navigation():
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages - {f"decisions/{page.name}" for page in DECISIONS} == {
        page for page in nav() if (ROOT / "docs" / page).exists()
    }


def test_every_decision_has_a_number_of_its_own_and_a_title():
    numbers = [page.name[:4] for page in DECISIONS]
    assert len(numbers) == len(set(numbers))
    untitled = [page.name for page in DECISIONS if not re.match(rf"# {int(page.name[:4])}\. \w", page.read_text())]
    assert not untitled


def test_every_public_name_is_in_the_api_reference():
    text = "".join(page.read_text() for page in (ROOT / "docs/reference/api").glob("*.md"))
    assert set(headway.__all__) == set(re.findall(r"^::: headway\.(\w+)$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped_at_120(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.lstrip().startswith(("|", "<", "!["))]
    assert not [line for line in long if " " in line[:120].strip()]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda picture: picture.name)
def test_a_picture_is_well_formed_and_brings_its_own_background(picture):
    # Without one it would be dark on dark for readers with a dark theme.
    first = ET.parse(picture).getroot().find("{http://www.w3.org/2000/svg}rect")
    assert first is not None
    assert re.fullmatch(r"#[0-9a-f]{6}", first.get("fill") or "")


def test_the_glossary_has_one_line_a_term_in_alphabetical_order():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    terms = [term for term, _ in rows]
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.casefold)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/migrate").glob("*.md")), ids=lambda page: page.name)
def test_a_migration_guide_shows_the_same_example_on_both_sides(page):
    text = page.read_text()
    other = re.search(r"^# Migrate from (\w+)$", text, re.MULTILINE)
    assert other
    sides = re.findall(r"^\*\*(\w+)\*\*\n\n```(\w+)\n", text, re.MULTILINE)
    assert len(sides) >= 4
    assert [language for side, language in sides if side == other[1]] == [
        language for side, language in sides if side == "Headway"
    ]


def test_the_headway_side_of_a_migration_guide_declares_a_service_that_can_be_loaded():
    for page in ("celery", "faststream"):
        [code] = re.findall(
            r"\*\*Headway\*\*\n\n```python\n(.*?Service\(.*?)```",
            (ROOT / f"docs/migrate/{page}.md").read_text(),
            re.DOTALL,
        )
        scope: dict[str, object] = {}
        exec(compile(code, page, "exec"), scope)  # the page's own code
        [service] = [value for value in scope.values() if isinstance(value, headway.Service)]
        assert service.handlers


def test_every_finding_of_the_doctor_is_explained():
    code = "".join(path.read_text() for path in (ROOT / "headway/doctor").rglob("*.py"))
    codes = set(
        re.findall(r"\b(?:error|warning|note|kind|\(error if \w+ else warning\))\(\s*\"([a-z]+(?:-[a-z]+)*)\"", code)
    )
    assert len(codes) > 35
    page = (ROOT / "docs/how-to/diagnose.md").read_text()
    assert not {code for code in codes if f"`{code}`" not in page}
    explained = [
        code for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for code in re.findall("`([a-z-]+)`", row)
    ]
    assert len(explained) == len(set(explained))


@pytest.mark.parametrize(
    ("section", "model"), [("services.<name>", ServiceConfig), ("server", ServerConfig), ("web", WebConfig)]
)
def test_every_key_of_headway_yaml_is_in_its_reference(section, model):
    page = (ROOT / "docs/reference/headway-yaml.md").read_text()
    keys = set(re.findall(r"`\.?([a-z_]+)`", page)) | {
        row.split(".")[-1] for row in re.findall(r"`([a-z<>_.]+)`", page)
    }
    assert not {name for name in model.model_fields if name not in keys and f"`{section}.{name}" not in page}


def test_the_changelog_says_nothing_twice():
    entries = [
        " ".join(entry.split()) for entry in re.split(r"^- ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    ]
    starts = [entry[:60] for entry in entries[1:]]
    assert len(starts) == len(set(starts))
