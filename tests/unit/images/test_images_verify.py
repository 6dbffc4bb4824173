"""What an image is: one digest for everything in it, and not a byte that it does not cover."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import InvalidSubject
from headway.images import image, store
from headway.images.errors import ImageChanged, NoImage, WrongRequirements
from headway.images.image import Manifest
from tests.support.made_image import FILES, manifest, rewrite


@pytest.fixture
def built(tmp_path):
    """An image: its folder and digest."""
    digest = store.publish(tmp_path, manifest(), FILES)
    root = image.folder(tmp_path, digest)
    for directory in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)  # the tests change it
    return root, digest


def test_an_image_that_nobody_touched_verifies(built):
    assert image.verify(*built) == manifest()


CHANGES = {
    "another byte": (lambda root: rewrite(root / "src/app/__init__.py", b"app = 2\n"), "app/__init__.py was changed"),
    "one byte more": (lambda root: rewrite(root / "src/app/__init__.py", b"app = 1\n\n"), "__init__.py was changed"),
    "a removed file": (lambda root: (root / "src/app/data/table.csv").unlink(), "app/data/table.csv is missing"),
    "another file": (lambda root: (root / "src/app/more.py").write_text(""), "app/more.py was added"),
    "bytecode": (lambda root: (root / "src/app/__pycache__").mkdir(), "app/__pycache__/ was added"),
    "an empty folder": (lambda root: (root / "src/bus").mkdir(), "bus/ was added"),
    "a file beside the source": (lambda root: (root / "notes").write_text(""), "notes was added"),
    "no longer executable": (lambda root: (root / "src/app/run.sh").chmod(0o644), "app/run.sh was changed"),
    "executable": (lambda root: (root / "src/app/__init__.py").chmod(0o755), "app/__init__.py was changed"),
    "no source": (lambda root: (root / "src").rename(root.parent / "src"), "cannot be read: No such file"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_any_change_is_refused_and_named(built, change, message):
    change(built[0])
    with pytest.raises(ImageChanged, match=message):
        image.verify(*built)


def test_a_link_is_no_file_even_if_it_leads_to_the_same_bytes(built, tmp_path):
    path = built[0] / "src/app/__init__.py"
    path.rename(tmp_path / "elsewhere.py")
    path.symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(ImageChanged, match=r"app/__init__\.py was changed"):
        image.verify(*built)


def test_a_change_that_keeps_size_and_time_is_found(built):
    path = built[0] / "src/app/__init__.py"
    before = path.stat()
    rewrite(path, b"app = 9\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ImageChanged):
        image.verify(*built)


def test_many_changes_are_told_in_one_line(built):
    for number in range(9):
        (built[0] / f"src/app/n{number}").write_text("")
    with pytest.raises(ImageChanged, match=r"n4 was added, and 4 more"):
        image.verify(*built)


def test_another_manifest_has_another_digest(built):
    root, digest = built
    rewrite(root / "manifest.json", manifest(config={"speed": 2}).canonical())
    with pytest.raises(ImageChanged, match=f"does not belong to image {digest[:12]}"):
        image.verify(root, digest)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"format": 2}', manifest().canonical() + b" "])
def test_what_is_no_manifest_is_refused(built, text):
    rewrite(built[0] / "manifest.json", text)
    with pytest.raises(ImageChanged):
        image.read(built[0])


def test_no_image_is_there_if_there_is_none(tmp_path):
    for act in (image.read, lambda root: image.verify(root, "0" * 64)):
        with pytest.raises(NoImage, match="there is no image in"):
            act(tmp_path / "nowhere")


@pytest.mark.parametrize("digest", ["", "abc", "../" * 22, "A" * 64, "0" * 64 + "\n"])
def test_a_digest_is_64_hex_digits_and_nothing_else(tmp_path, digest):
    with pytest.raises(NoImage, match="is not an image's digest"):
        image.folder(tmp_path, digest)


def test_an_images_folder_names_its_digest(built, tmp_path):
    assert image.digest_of(built[0]) == built[1]
    with pytest.raises(NoImage, match="is not the folder of an image"):
        image.digest_of(tmp_path)


def test_a_label_names_a_digest(built, tmp_path):
    assert image.resolve(tmp_path, "app", "v1") == built[1]
    assert image.labels(tmp_path) == {("app", "v1"): built[1]}
    assert image.digests(tmp_path) == [built[1]]
    with pytest.raises(NoImage, match="there is no image of app v2"):
        image.resolve(tmp_path, "app", "v2")
    with pytest.raises(InvalidSubject):
        image.resolve(tmp_path, "../app", "v1")
    rewrite(image.label_path(tmp_path, "app", "v1"), b"whatever\n")
    with pytest.raises(ImageChanged, match="contains no digest"):
        image.resolve(tmp_path, "app", "v1")


def test_images_are_read_only_and_for_their_owner(built, tmp_path):
    assert stat.S_IMODE((tmp_path / "images").stat().st_mode) == 0o700
    files = [path for path in built[0].rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444, 0o555}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_manifest_is_read_as_it_was_written_whatever_the_configuration(config):
    one = manifest(config=config)
    again = Manifest.model_validate_json(one.canonical())
    assert again == one
    assert again.canonical() == one.canonical()


@given(st.permutations(sorted(FILES)), st.permutations(["speed", "names"]))
def test_the_digest_does_not_depend_on_any_order(files, keys):
    one = manifest()
    mixed = manifest({name: FILES[name] for name in files}, config={key: one.config[key] for key in keys})
    assert mixed.digest == one.digest


def test_requirements_are_compared_with_what_is_installed(monkeypatch):
    import pydantic

    image.check_environment(manifest(requirements={"pydantic": pydantic.VERSION}))
    with pytest.raises(WrongRequirements, match=r"pydantic 1\.0 \(.* is installed\), nope 3 \(nothing") as refused:
        image.check_environment(manifest(requirements={"pydantic": "1.0", "nope": "3"}))
    assert refused.value.remedy.startswith("pip install pydantic==1.0 nope==3")
    with pytest.raises(WrongRequirements, match=r"was built for Python 2\.7"):
        image.check_environment(manifest(python="2.7"))
