"""What `headway dev` decides: which services an edit belongs to, and how an error and a log line look."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from headway.bus.errors import UsageError
from headway.loglines import shown
from headway.reload import child
from headway.reload.modules import affected, files_of
from headway.reload.watch import edits, folders


def project(root: Path, **sources: str) -> dict[str, ModuleType]:
    """Modules as a process has them that imported these sources; `__` in a name stands for a folder."""
    modules = {}
    for name, source in sources.items():
        folder, _, stem = name.rpartition("__")
        file = root / folder / ("__init__.py" if stem == "init" else f"{stem}.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        dotted = folder if stem == "init" else f"{folder}.{stem}".removeprefix(".")
        modules[dotted] = ModuleType(dotted)
        modules[dotted].__file__ = str(file)
    return modules


def names(files: frozenset[Path] | None, root: Path) -> set[str]:
    return {str(file.relative_to(root)) for file in files or ()}


def test_a_service_consists_of_what_its_module_imports_directly_or_not(tmp_path):
    modules = project(
        tmp_path,
        fax="import pages\nfrom shared.money import euro",
        pages="from shared import paper",
        calls="import shared.money as m",
        shared__init="",
        shared__money="from . import rounding",
        shared__rounding="",
        shared__paper="",
    )
    found = files_of({"fax": "fax:fax", "calls": "calls:calls"}, modules, tmp_path)
    shared = {"shared/__init__.py", "shared/money.py", "shared/rounding.py"}
    assert names(found["fax"], tmp_path) == {"fax.py", "pages.py", "shared/paper.py"} | shared
    assert names(found["calls"], tmp_path) == {"calls.py"} | shared


def test_what_is_installed_or_elsewhere_does_not_belong_to_a_project():
    modules = {"app": ModuleType("app"), "builtin": ModuleType("builtin"), "json": ModuleType("json")}
    modules["app"].__file__ = str(Path(sys.prefix).resolve() / "lib" / "app.py")
    modules["json"].__file__ = "/usr/lib/python3/json.py"
    assert files_of({"app": "app:app"}, modules, Path(sys.prefix).resolve()) == {"app": frozenset()}


def test_a_file_whose_import_no_source_shows_belongs_to_every_service(tmp_path):
    modules = project(tmp_path, fax="load('plugin')", calls="", plugin="")
    found = files_of({"fax": "fax:fax", "calls": "calls:calls"}, modules, tmp_path)
    assert names(found["fax"], tmp_path) == {"fax.py", "plugin.py"}
    assert names(found["calls"], tmp_path) == {"calls.py", "plugin.py"}


def test_the_watched_folders_leave_out_environments_caches_and_the_data_directory(tmp_path):
    for name in ("shop/rules", ".git/objects", "node_modules/x", "env/lib", "data/jetstream", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    found = folders(tmp_path, tmp_path / "data")
    assert set(found) == {tmp_path, tmp_path / "shop", tmp_path / "shop" / "rules"}


async def test_edits_in_a_new_folder_are_noticed(tmp_path):
    (tmp_path / "app.py").touch()
    found = edits(tmp_path, tmp_path / "data", time.time() + 60, list)
    waiting = asyncio.ensure_future(anext(found))
    await asyncio.sleep(0.1)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "vat.py").write_text("VAT = 0.19")
    async with asyncio.timeout(5):
        seen = await waiting
        while tmp_path / "rules" / "vat.py" not in seen:
            seen |= await anext(found)
    await found.aclose()


def test_an_edit_belongs_to_the_services_that_have_imported_the_file(tmp_path):
    shared, fax, calls = (tmp_path / name for name in ("shared.py", "fax.py", "calls.py"))
    known = {"fax": {fax, shared}, "calls": {calls, shared}}
    assert affected({fax}, known) == ["fax"]
    assert affected({shared}, known) == ["fax", "calls"]
    assert affected({tmp_path / "tests.py"}, known) == []


def test_any_file_may_mend_a_service_whose_import_failed(tmp_path):
    assert affected({tmp_path / "new.py"}, {"fax": None, "calls": set()}) == ["fax"]


def test_an_error_is_shown_from_the_projects_first_frame_on(tmp_path, monkeypatch):
    (tmp_path / "broken_service.py").write_text("def half():\n    return 1 / 0\n\nhalf()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError) as raised:
        __import__("broken_service")
    lines = child.shown(raised.value, tmp_path).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'"{tmp_path}/broken_service.py", line 4' in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_an_error_of_headway_is_shown_with_its_remedy(tmp_path):
    said = child.shown(UsageError("there is no module x", remedy="write it"), tmp_path)
    assert said == "error: there is no module x\nfix: write it"


def test_a_services_lines_have_its_colour_in_every_version_and_errors_are_red():
    one, two, other = (shown(label, "text", colour=True) for label in ("fax-v1", "fax-v2", "calls-v1"))
    assert one.partition("fax")[0] == two.partition("fax")[0] != other.partition("calls")[0]
    assert "\x1b[31mERROR: it broke\x1b[0m" in shown("fax-v1", "ERROR: it broke", colour=True)
    assert shown("scaler", "text", colour=True).startswith("\x1b[2mscaler")


def test_without_colours_a_line_has_no_control_characters():
    assert shown("fax-v1", "ERROR: it broke", colour=False) == "fax-v1         ERROR: it broke"
