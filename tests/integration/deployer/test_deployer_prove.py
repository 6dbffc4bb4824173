"""What is proven before a version gets traffic: its image, and that it keeps the contract of the one before it."""

from __future__ import annotations

import shutil

import pytest

from headway import Service
from headway.bus.schemas import schemas
from headway.control.records import RolloutRecord, VersionRecord
from headway.deployer.errors import ContractBroken
from headway.deployer.prove import known_schemas, prove
from headway.deployer.version import version_of
from headway.images import image, signing, store
from headway.images.errors import ImageChanged, NoImage
from headway.images.image import Manifest
from headway.images.source import Content

FILES = {"app.py": Content(b"app = 1\n")}
BROKEN = "rpc op: request no longer takes any integer"


def service(takes: type = int) -> Service:
    app = Service("app")

    async def operation(request): ...

    operation.__annotations__ = {"request": takes}
    app.rpc("op")(operation)
    return app


def published(data_dir, version: str, takes: type = int) -> VersionRecord:
    """A version with an image of a service that takes integers, or something else."""
    manifest = Manifest.model_validate(
        {
            "service": "app",
            "version": version,
            "app": "app:app",
            "config": {"speed": 1},
            "headway": "0",
            "python": image.python_version(),
            "requirements": {},
            "schemas": schemas(service(takes)),
            "files": {name: image.fingerprint(one.data, executable=False) for name, one in FILES.items()},
        }
    )
    store.publish(data_dir, manifest, FILES)
    signing.sign_trusted(data_dir, manifest.digest, "test")
    return version_of(data_dir, "app", version)


def tree(version: str) -> VersionRecord:
    """A version that runs from a working tree."""
    return VersionRecord(service="app", version=version, app="app:app", root="/nowhere")


ROLLOUT = RolloutRecord(service="app", version="v2", before="v1")
BREAKING = ROLLOUT.model_copy(update={"breaking": True})
ROLLBACK = ROLLOUT.model_copy(update={"urgent": True})


async def test_a_version_that_keeps_the_contract_is_proven(bus, tmp_path):
    await prove(bus.bus, ROLLOUT, published(tmp_path, "v2"), published(tmp_path, "v1"))
    await prove(bus.bus, ROLLOUT, published(tmp_path, "v2"), None)


async def test_a_version_that_breaks_it_is_refused_unless_that_is_meant(bus, tmp_path):
    old, new = published(tmp_path, "v1"), published(tmp_path, "v2", str)
    with pytest.raises(ContractBroken, match=f"app v2 breaks v1: {BROKEN}"):
        await prove(bus.bus, ROLLOUT, new, old)
    await prove(bus.bus, BREAKING, new, old)
    await prove(bus.bus, ROLLBACK, new, old)


async def test_a_changed_image_is_refused_even_if_breaking_is_meant(bus, tmp_path):
    new = published(tmp_path, "v2")
    for changed in ({"config": {}}, {"app": "app:other"}, {"root": str(tmp_path)}):
        with pytest.raises((ImageChanged, NoImage)):
            await prove(bus.bus, BREAKING, new.model_copy(update=changed), None)
    path = image.folder(tmp_path, new.image) / "src/app.py"
    path.chmod(0o644)
    path.write_text("spoilt")
    for record in (ROLLOUT, BREAKING, ROLLBACK):
        with pytest.raises(ImageChanged, match=r"app\.py was changed"):
            await prove(bus.bus, record, new, None)


async def test_what_has_no_image_is_rolled_back_to_but_not_out(bus):
    with pytest.raises(NoImage, match="app v2 has no image"):
        await prove(bus.bus, ROLLOUT, tree("v2"), None)
    await prove(bus.bus, ROLLBACK, tree("v2"), None)


async def test_the_workers_of_a_version_without_an_image_are_asked(bus, tmp_path):
    new = published(tmp_path, "v2", str)
    async with bus.serving(service(), version="v1"), bus.serving(service(str), version="v0"):
        with pytest.raises(ContractBroken, match=BROKEN):
            await prove(bus.bus, ROLLOUT, new, tree("v1"))
        await prove(bus.bus, ROLLOUT, new, tree("v0"))


async def test_if_nobody_can_tell_the_old_contract_it_is_not_taken_for_kept(bus, tmp_path):
    new = published(tmp_path, "v2")
    with pytest.raises(ContractBroken, match="nobody can tell what app v1 takes and replies"):
        await prove(bus.bus, ROLLOUT, new, tree("v1"))
    await prove(bus.bus, BREAKING, new, tree("v1"))


async def test_a_damaged_old_image_does_not_hold_up_the_new_one(bus, tmp_path):
    old = published(tmp_path, "v1")
    shutil.rmtree(image.folder(tmp_path, old.image))
    async with bus.serving(service(), version="v1"):
        assert (await known_schemas(bus.bus, old))["rpc.op"].input == {"type": "integer"}
        await prove(bus.bus, ROLLOUT, published(tmp_path, "v2"), old)
