"""Importing from an image: nothing of the surroundings gets in, and nothing that was not built is run."""

from __future__ import annotations

import importlib
import importlib.util
import py_compile
import sys

import pytest

from headway.images import image, imports
from headway.images.errors import ImageChanged

FILES = {
    "shop/__init__.py": "from shop import desk\n",
    "shop/desk.py": "NAME = 'built'\n",
    "shop/late.py": "NAME = 'built'\n",
    "space/inner.py": "NAME = 'built'\n",
    "lone.py": "NAME = 'built'\n",
    "notes.txt": "",
}


def write(root, files) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """`sealed()`: the sources of FILES, sealed; undone afterwards."""
    write(tmp_path / "image", FILES)
    finders, modules = list(sys.meta_path), set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def seal():
        found = {name: image.fingerprint(text.encode(), executable=False) for name, text in FILES.items()}
        imports.seal(tmp_path / "image", found)
        return tmp_path / "image"

    yield seal
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_modules_packages_and_folders_without_init_are_imported_from_the_image(sealed):
    root = sealed()
    for name in ("shop.desk", "space.inner", "lone"):
        module = importlib.import_module(name)
        assert module.NAME == "built"
        assert module.__file__.startswith(str(root))


def test_what_comes_first_on_the_path_does_not_shadow_the_image(sealed, tmp_path):
    write(tmp_path / "first", dict.fromkeys(FILES, "NAME = 'shadow'\n"))
    sys.path.insert(0, str(tmp_path / "first"))
    sealed()
    for name in ("shop.desk", "space.inner", "lone"):
        assert importlib.import_module(name).NAME == "built"


def test_what_the_image_has_not_is_not_found_elsewhere(sealed, tmp_path):
    write(tmp_path / "first", {"shop/__init__.py": "", "shop/more.py": "", "space/more.py": ""})
    sys.path.insert(0, str(tmp_path / "first"))
    sealed()
    for name in ("shop.more", "space.more"):
        with pytest.raises(ModuleNotFoundError, match="in the image"):
            importlib.import_module(name)


def test_code_that_was_changed_after_it_was_verified_does_not_run(sealed):
    root = sealed()
    importlib.import_module("shop")
    (root / "shop/late.py").write_text("NAME = 'spoilt'\n")
    with pytest.raises(ImageChanged, match=r"late\.py was changed since"):
        importlib.import_module("shop.late")


def test_bytecode_is_neither_written_nor_read(sealed):
    root = sealed()
    importlib.import_module("shop.late")
    assert not list(root.rglob("__pycache__"))
    for name in ("shop.desk", "shop.late"):
        del sys.modules[name]
    # A cache that looks right for the source as it lies there, and holds something else.
    evil = root.parent / "evil.py"
    evil.write_text("NAME = 'cached'\n")
    cache = importlib.util.cache_from_source(str(root / "shop/late.py"))
    py_compile.compile(str(evil), cfile=cache, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert importlib.import_module("shop.late").NAME == "built"


def test_a_module_that_was_imported_from_elsewhere_before_is_told(sealed, tmp_path):
    write(tmp_path / "first", {"lone.py": ""})
    sys.path.insert(0, str(tmp_path / "first"))
    importlib.import_module("lone")
    with pytest.raises(ImageChanged, match="lone of the image was already imported from elsewhere"):
        sealed()


def test_other_modules_are_imported_as_ever(sealed):
    sealed()
    assert importlib.import_module("wave").__file__.endswith("wave.py")
