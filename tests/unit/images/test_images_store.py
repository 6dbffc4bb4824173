"""Publishing, copying and removing images: whole or not at all, whatever happens."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from headway.images import image, signing, store
from headway.images.errors import ImageChanged, ImageError, LabelTaken, NoImage
from tests.support.made_image import FILES, manifest, rewrite


def publish(data_dir, **changed) -> str:
    return store.publish(data_dir, manifest(**changed), FILES)


def left(data_dir) -> list[str]:
    """What is in the folder of images, but for the lock, labels and images."""
    return [
        path.name
        for path in (data_dir / "images").iterdir()
        if path.name not in {".lock", "labels"} and not path.name.startswith("sha256-")
    ]


def test_publishing_again_changes_nothing(tmp_path):
    digest = publish(tmp_path)
    before = {path: path.stat().st_ino for path in (tmp_path / "images").rglob("*")}
    assert publish(tmp_path) == digest
    assert {path: path.stat().st_ino for path in (tmp_path / "images").rglob("*")} == before


def test_publishing_again_mends_an_image_that_was_changed(tmp_path):
    digest = publish(tmp_path)
    rewrite(image.folder(tmp_path, digest) / "src/app/__init__.py", b"spoilt")
    publish(tmp_path)
    image.verify(image.folder(tmp_path, digest), digest)
    assert left(tmp_path) == []


def test_a_label_is_not_moved_to_another_image(tmp_path):
    digest = publish(tmp_path)
    with pytest.raises(LabelTaken, match="app v1 is another image"):
        publish(tmp_path, config={})
    assert image.digests(tmp_path) == [digest]
    assert publish(tmp_path, config={}, version="v2") != digest


@pytest.mark.parametrize("number", range(1, 12))
def test_a_full_disk_leaves_nothing_half_wherever_it_strikes(tmp_path, monkeypatch, number):
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    try:
        digest = publish(tmp_path)
    except ImageError as error:
        assert "No space left on device" in error.message
        assert left(tmp_path) == []
        assert image.labels(tmp_path) == {}
        digest = publish(tmp_path)
    image.verify(image.folder(tmp_path, digest), digest)
    assert image.labels(tmp_path) == {("app", "v1"): digest}


def dies_while_publishing(data_dir: Path, number: int) -> None:
    calls = 0

    def die(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            os._exit(9)

    os.fsync = die
    publish(data_dir)


@pytest.mark.parametrize("number", [1, 4, 8])
def test_a_crash_leaves_nothing_that_is_taken_for_an_image_and_the_next_build_clears_it(tmp_path, number):
    child = multiprocessing.get_context("fork").Process(target=dies_while_publishing, args=(tmp_path, number))
    child.start()
    child.join(30)
    assert child.exitcode == 9
    assert image.labels(tmp_path) == {}
    for digest in image.digests(tmp_path):
        image.verify(image.folder(tmp_path, digest), digest)
    digest = publish(tmp_path)
    image.verify(image.folder(tmp_path, digest), digest)
    assert left(tmp_path) == []


def test_two_builds_at_once_make_one_image(tmp_path):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=publish, args=(tmp_path,)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    [digest] = image.digests(tmp_path)
    image.verify(image.folder(tmp_path, digest), digest)
    assert left(tmp_path) == []


def test_a_copy_is_the_same_image(tmp_path):
    digest = publish(tmp_path / "staging")
    signing.sign_built(tmp_path / "staging", manifest())
    copied = store.copy(tmp_path / "staging", tmp_path / "prod", digest)
    assert copied == manifest()
    assert image.labels(tmp_path / "prod") == {("app", "v1"): digest}
    assert os.access(image.folder(tmp_path / "prod", digest) / "src/app/run.sh", os.X_OK)


def test_what_is_not_whole_is_not_copied(tmp_path):
    digest = publish(tmp_path / "staging")
    rewrite(image.folder(tmp_path / "staging", digest) / "src/app/__init__.py", b"spoilt")
    with pytest.raises(ImageChanged):
        store.copy(tmp_path / "staging", tmp_path / "prod", digest)
    with pytest.raises(NoImage):
        store.copy(tmp_path / "staging", tmp_path / "prod", "0" * 64)
    assert image.digests(tmp_path / "prod") == []


def test_a_removed_image_is_gone_with_its_label_and_the_others_stay(tmp_path):
    first, second = publish(tmp_path), publish(tmp_path, version="v2")
    store.remove(tmp_path, first)
    assert image.digests(tmp_path) == [second]
    assert image.labels(tmp_path) == {("app", "v2"): second}
    assert left(tmp_path) == []
    assert publish(tmp_path) == first, "it can be built again"


def test_what_is_not_of_the_manifest_is_not_published(tmp_path):
    for files in ({**FILES, "app/__init__.py": FILES["app/run.sh"]}, {}, {**FILES, "more": FILES["app/run.sh"]}):
        with pytest.raises(ImageChanged, match="changed while they were read"):
            store.publish(tmp_path, manifest(), files)
    assert not (tmp_path / "images").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "images").write_text("no folder")
    with pytest.raises(ImageError, match="cannot be written: File exists"):
        publish(tmp_path)
