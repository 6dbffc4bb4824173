"""Building images: what belongs to a service, the same digest for the same input, clear words for what cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import ConfigError, InvalidSubject
from headway.images import image, requirements, source
from headway.images.build import build, snapshot
from headway.images.errors import BuildFailed, LabelTaken

SERVICE = """
from pydantic import BaseModel
from headway import Service
from shops import rates
from shops.common.money import Money

class Config(BaseModel):
    speed: int = 1

fax = Service("fax", config=Config)

class Ask(BaseModel):
    tags: set[str] = {"red", "green", "blue", "white"}

@fax.rpc("price")
async def price(request: Ask) -> Money:
    import tables
    return Money(amount=rates.RATE)
"""
TREE = {
    "shops/__init__.py": "",
    "shops/rates.py": "RATE = 2\n",
    "shops/unused.py": "raise RuntimeError('nobody imports this')\n",
    "shops/common/__init__.py": "",
    "shops/common/money.py": "from pydantic import BaseModel\nclass Money(BaseModel):\n    amount: int\n",
    "shops/common/spare.py": "",
    "shops/other/__init__.py": "import nothing_like_that\n",
    "shops/fax/__init__.py": SERVICE,
    "shops/fax/texts/hello.txt": "hello\n",
    "shops/fax/test_fax.py": "import hypothesis\n",
    "tables.py": "SIZE = 3\n",
    "setup.py": "",
}
BELONGS = [
    "shops/__init__.py",
    "shops/common/__init__.py",
    "shops/common/money.py",
    "shops/common/spare.py",
    "shops/fax/__init__.py",
    "shops/fax/test_fax.py",
    "shops/fax/texts/hello.txt",
    "shops/rates.py",
    "tables.py",
]


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def tree(tmp_path):
    return write(tmp_path / "tree", TREE)


def made(tree, **options):
    return snapshot(tree / "shops/fax", version="v1", **options)[0]


def test_an_image_has_the_service_and_the_local_modules_that_it_imports_and_no_others(tree):
    found = made(tree)
    assert list(found.files) == BELONGS
    assert (found.service, found.app, found.version) == ("fax", "shops.fax:fax", "v1")
    assert list(found.schemas) == ["rpc.price"]
    assert found.schemas["rpc.price"].output["properties"]["amount"] == {"title": "Amount", "type": "integer"}


def test_requirements_are_what_the_service_imports_with_what_that_needs_and_not_what_its_tests_import(tree):
    import pydantic

    found = made(tree).requirements
    assert found["pydantic"] == pydantic.VERSION
    assert {"pydantic-core", "typing-extensions"} <= set(found)
    assert not {"hypothesis", "headway", "nats-py", "orjson"} & set(found)


def test_the_same_input_makes_the_same_digest_whatever_surrounds_it(tree, tmp_path, monkeypatch):
    first = made(tree, config={"speed": 2}).digest
    again = tmp_path / "a folder with another name"
    write(again, dict(reversed(TREE.items())))
    for path in again.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700 if path.is_dir() else 0o600)
    write(again, {"shops/fax/__pycache__/x.pyc": "", "shops/fax/.env": "SECRET=1", "shops/fax/.git/config": ""})
    monkeypatch.chdir(again / "shops")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONPATH", str(tree))
    old = os.umask(0o077)
    try:
        assert snapshot(again / "shops/fax", version="v1", config={"speed": 2})[0].digest == first
    finally:
        os.umask(old)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: write(tree, {"shops/rates.py": "RATE = 3\n"}),
        lambda tree: write(tree, {"shops/fax/texts/bye.txt": ""}),
        lambda tree: (tree / "shops/fax/texts/hello.txt").chmod(0o755),
        lambda tree: (tree / "shops/common/spare.py").unlink(),
    ],
)
def test_another_input_makes_another_digest(tree, change):
    first = made(tree).digest
    change(tree)
    assert made(tree).digest != first


def test_configuration_and_label_are_part_of_the_digest(tree):
    first = made(tree)
    assert made(tree, config={"speed": 2}).digest != first.digest
    assert snapshot(tree / "shops/fax", version="v2")[0].digest != first.digest


def test_what_git_ignores_does_not_belong_to_an_image(tree, missing):
    if shutil.which("git") is None:
        missing("git is not installed: apt install git")
    first = made(tree).digest
    subprocess.run(["git", "init", "-q", tree], check=True)
    write(tree, {".gitignore": "*.sqlite\n", "shops/fax/cache.sqlite": "x"})
    assert made(tree).digest == first


def test_a_service_may_be_one_file(tmp_path):
    write(tmp_path, {"hello.py": "from headway.bus import Service\nhello = Service('hello')\n", "other.py": ""})
    found, gathered = snapshot(tmp_path / "hello.py", version="v1")
    assert found.app == "hello:hello"
    assert list(gathered.files) == ["hello.py"]


def test_a_module_that_is_imported_by_a_made_up_name_gets_its_requirements_locked(tree):
    write(tree, {"shops/fax/plugin.py": "import orjson\n"})
    code = SERVICE + "\nimport importlib\nimportlib.import_module(__name__ + '.plugin')\n"
    write(tree, {"shops/fax/__init__.py": code})
    assert "orjson" in made(tree).requirements


def test_folders_without_init_are_named_by_app(tmp_path):
    tree = write(tmp_path, {name: text for name, text in TREE.items() if not name.endswith("shops/__init__.py")})
    assert snapshot(tree / "shops/fax", version="v1", app="shops.fax:fax")[0].app == "shops.fax:fax"


FAILURES = {
    "a syntax error": ({"shops/fax/__init__.py": "def\n"}, r"SyntaxError"),
    "an error while importing": ({"shops/rates.py": "1 / 0\n"}, r"shops/rates\.py:1: ZeroDivisionError"),
    "an exit while importing": ({"shops/rates.py": "raise SystemExit(3)\n"}, r"shops/rates\.py:1: SystemExit: 3"),
    "the end of the process": ({"shops/rates.py": "import os; os._exit(3)\n"}, r"cannot be imported: exit code 3"),
    "a missing module": ({"shops/rates.py": "import nothing_like_that\n"}, r"shops/rates\.py:1: .*nothing_like_that"),
    "no service": ({"shops/fax/__init__.py": ""}, r"there is no Service in shops\.fax"),
    "two services": ({"shops/fax/__init__.py": SERVICE + "\ntwo = Service('two')\n"}, r"several services in"),
    "a key in a file": (
        {"shops/fax/texts/key": "-----BEGIN RSA PRIVATE KEY-----"},
        r"shops/fax/texts/key contains a secret key",
    ),
}


@pytest.mark.parametrize(("files", "message"), FAILURES.values(), ids=FAILURES)
def test_what_cannot_be_an_image_is_refused_with_its_reason_and_nothing_is_published(tree, tmp_path, files, message):
    write(tree, files)
    with pytest.raises(BuildFailed, match=message) as refused:
        build(tree / "shops/fax", version="v1", data_dir=tmp_path / "data")
    assert refused.value.remedy
    assert not image.digests(tmp_path / "data")


def test_a_module_that_lies_in_a_folder_outside_the_image_is_refused(tree, tmp_path, monkeypatch):
    write(tmp_path / "elsewhere", {"stray.py": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "elsewhere")])
    with pytest.raises(BuildFailed, match="stray is imported from outside the image"):
        requirements.lock({"stray"})


def test_a_folder_of_scripts_is_not_taken_for_the_installed_package_of_its_name(tree):
    write(tree, {"pydantic/notes.py": "", "orjson/example.py": ""})
    write(tree, {"shops/rates.py": "import orjson\nRATE = 2\n"})
    found = made(tree)
    assert list(found.files) == BELONGS
    assert {"orjson", "pydantic"} <= set(found.requirements)


def test_a_file_whose_name_cannot_be_written_down_is_refused(tree):
    try:
        (tree / "shops/fax" / os.fsdecode(b"\xff")).write_text("")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(BuildFailed, match="not a valid file name"):
        made(tree)


def test_a_link_to_a_folder_is_refused(tree):
    (tree / "shops/fax/link").symlink_to(tree / "shops/common")
    with pytest.raises(BuildFailed, match="is a link to a folder"):
        made(tree)


def test_a_configuration_is_checked_by_the_services_own_model_and_holds_no_key(tree):
    with pytest.raises(ConfigError, match="speed: Input should be a valid integer"):
        made(tree, config={"speed": "fast"})
    with pytest.raises(BuildFailed, match="configuration contains a secret key"):
        made(tree, config={"key": "-----BEGIN PRIVATE KEY-----"})


def test_a_label_stands_for_one_image_for_good(tree, tmp_path):
    data = tmp_path / "data"
    first = build(tree / "shops/fax", version="v1", data_dir=data)
    again = build(tree / "shops/fax", version="v1", data_dir=data)
    assert (first.existed, again.existed) == (False, True)
    assert first.digest == again.digest
    with pytest.raises(LabelTaken, match=rf"fax v1 is another image \({first.digest[:12]}"):
        build(tree / "shops/fax", version="v1", data_dir=data, config={"speed": 3})
    assert image.labels(data) == {("fax", "v1"): first.digest}
    assert image.digests(data) == [first.digest]
    with pytest.raises(InvalidSubject):
        build(tree / "shops/fax", version="V 1", data_dir=data)


@pytest.mark.parametrize("path", ["nowhere", "shops/fax/texts", "shops/fax/texts/hello.txt"])
def test_what_is_no_python_is_refused(tree, path):
    with pytest.raises(BuildFailed, match=r"(no|nor a) Python file"):
        source.locate(tree / path, None)


def test_an_app_that_is_not_in_the_folder_is_refused(tree):
    with pytest.raises(BuildFailed, match=r"shops\.rates:x is not in"):
        source.locate(tree / "shops/fax", "shops.rates:x")


CODE = {
    "import a.b as c, d": ["a.b", "d"],
    "from a import b, c": ["a", "a.b", "a.c"],
    "from a import *": ["a"],
    "from . import b": ["p.q", "p.q.b"],
    "from .b import c": ["p.q.b", "p.q.b.c"],
    "from ..b import c": ["p.b", "p.b.c"],
    "def f():\n    try:\n        import a\n    except ImportError:\n        import b": ["a", "b"],
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b": [
        "b",
        "typing",
        "typing.TYPE_CHECKING",
    ],
    "def": [],
}


@pytest.mark.parametrize(("code", "found"), CODE.items())
def test_imports_are_found_wherever_they_are(code, found):
    assert sorted(source.imports(code.encode(), "p.q.r", package=False)) == found


def test_a_package_counts_its_dots_from_itself():
    assert list(source.imports(b"from . import b", "p.q", package=True)) == ["p.q", "p.q.b"]


@given(st.binary(max_size=60))
def test_whatever_a_file_holds_its_imports_are_read_or_it_has_none(code):
    assert all(isinstance(name, str) for name in source.imports(code, "a", package=False))
