"""What each part lets others use: said once in its `__all__`, documented, and loaded only when it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PARTS = ("broker", "control", "images", "scaler", "deployer", "scheduler", "clientsync", "services")


@pytest.fixture(params=PARTS)
def part(request) -> ModuleType:
    return import_module(f"headway.{request.param}")


def test_every_public_name_exists_and_is_documented(part):
    for name in part.__all__:
        value = getattr(part, name)
        said = inspect.getdoc(value) or ""
        assert said, f"{part.__name__}.{name} has no docstring"
        assert not said.startswith(f"{name}("), f"{part.__name__}.{name} has only the docstring that Python makes"


def test_public_names_are_sorted_and_no_name_hides_a_module(part):
    assert list(part.__all__) == sorted(set(part.__all__))
    folder = ROOT / part.__name__.partition(".")[2]
    hidden = [
        name
        for name in part.__all__
        if ((folder / f"{name}.py").exists() or (folder / name).is_dir())
        and not isinstance(getattr(part, name), ModuleType)
    ]
    assert not hidden


def test_what_type_checkers_see_is_what_is_public(part):
    tree = ast.parse(Path(inspect.getfile(part)).read_text())
    (seen,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imported = {
        alias.name: node.module for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == part.__all__
    for name, module in imported.items():
        assert getattr(import_module(module), name) is getattr(part, name)


def test_a_name_that_is_not_public_is_an_attribute_error(part):
    with pytest.raises(AttributeError, match=f"module '{part.__name__}' has no attribute 'nothing'"):
        part.nothing  # noqa: B018
    assert set(part.__all__) <= set(dir(part))


@pytest.mark.parametrize("name", PARTS)
def test_to_import_a_part_loads_nothing_but_itself(name):
    code = f"import sys; before = set(sys.modules); import headway.{name}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {module for module in done.stdout.split() if module.startswith("headway")}
    assert ours == {"headway", "headway.lazy", f"headway.{name}"}
    assert not {"nats", "pydantic", "asyncio", "click"} & set(done.stdout.split())
