"""What differs between two images."""

from __future__ import annotations

from headway.deployer.diff import diff
from headway.images.image import Schemas
from headway.images.source import Content
from tests.support.made_image import FILES, manifest

INTEGER = Schemas(input={"type": "integer"}, output={"type": "null"})
STRING = Schemas(input={"type": "string"}, output={"type": "null"})


def test_images_that_differ_in_their_label_alone_do_the_same():
    assert diff(manifest(), manifest(version="v2")).nothing


def test_everything_that_was_added_removed_or_changed_is_told():
    files = {**FILES, "app/__init__.py": Content(b"app = 2\n"), "app/new.py": Content(b"")}
    del files["app/run.sh"]
    old = manifest(requirements={"a": "1", "b": "1"}, schemas={"rpc.a": INTEGER, "rpc.b": INTEGER})
    new = manifest(
        files,
        config={"speed": 2, "extra": None},
        requirements={"a": "2", "c": "1"},
        python="3.99",
        schemas={"rpc.a": STRING, "job.c": INTEGER},
    )
    found = diff(old, new)
    assert not found.nothing
    assert list(found.files) == ["app/__init__.py", "app/new.py", "app/run.sh"]
    assert found.files["app/new.py"][0] is None
    assert found.files["app/run.sh"][1] is None
    assert found.config == {"extra": (None, None), "names": (["x"], None), "speed": (1, 2)}
    assert found.requirements == {"a": ("1", "2"), "b": ("1", None), "c": (None, "1")}
    assert found.program == {"python": (old.python, "3.99")}
    assert found.handlers == {"job.c": "added", "rpc.a": "changed", "rpc.b": "removed"}
    assert found.breaking == ["rpc a: request no longer takes any integer", "rpc b: it is gone"]


def test_a_file_that_became_executable_is_a_change():
    files = {**FILES, "app/run.sh": Content(FILES["app/run.sh"].data)}
    assert list(diff(manifest(files), manifest()).files) == ["app/run.sh"]
