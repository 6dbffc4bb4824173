"""What is public is said once, in `__all__`."""

import ast
import inspect
from pathlib import Path

import headway
from headway import bus
from headway.bus import errors
from headway.bus.errors import HeadwayError

ROOT = Path(__file__).parents[3]


def test_what_headway_exports_is_what_the_bus_exports():
    assert headway.__all__ == bus.__all__
    assert all(getattr(headway, name) is getattr(bus, name) for name in bus.__all__)


def test_the_names_are_sorted_and_each_stands_once():
    assert list(bus.__all__) == sorted(set(bus.__all__))


def test_every_error_of_the_tree_can_be_imported():
    tree = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, HeadwayError)}
    assert tree <= set(bus.__all__)


def test_what_type_checkers_see_in_headway_is_what_it_exports():
    seen = {
        alias.name
        for node in ast.walk(ast.parse((ROOT / "headway" / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "headway.bus"
        for alias in node.names
    }
    assert seen == set(headway.__all__)


def test_no_two_classes_of_the_bus_have_one_name():
    found: dict[str, list[str]] = {}
    for path in (ROOT / "bus").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.name)
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
