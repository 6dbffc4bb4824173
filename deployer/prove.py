"""Checks before a version gets traffic: is its image unchanged, and does it keep the old version's contract?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from headway.bus.client.bus import Bus
from headway.bus.wire.subjects import token
from headway.control.records import RolloutRecord, VersionRecord
from headway.deployer import contract
from headway.deployer.errors import ContractBroken
from headway.images import image, seal
from headway.images.errors import ImageChanged, NoImage
from headway.images.image import Schemas

ASK_TIMEOUT: Final = 2.0
"""Seconds that the workers of a version have to report their schemas."""

_SCHEMAS: Final = TypeAdapter(dict[str, Schemas])


async def prove(bus: Bus, record: RolloutRecord, new: VersionRecord, old: VersionRecord | None) -> None:
    """Prove that a version can be started from its image and can replace the old one.

    A rollback is checked less: the old contract was valid before, and a version from a working tree has no image.

    Args:
        bus: a connection in the control or operator role.
        record: the rollout; with `breaking` or `urgent` the contract is not checked.
        new: the version that is rolled out.
        old: the previous version; None for the first one.

    Raises:
        NoImage: if the new version has none.
        ImageChanged: if it differs from what was built.
        NotSigned: if no trusted key has signed it.
        ContractBroken: naming all that would break, or if the old contract is unknown.
    """
    if new.image is None:
        if record.urgent:
            return
        raise NoImage(
            f"{new.service} {new.version} has no image: what is deployed is one",
            remedy=f"headway image build <folder> --version {new.version}, and deploy it",
        )
    manifest = await asyncio.to_thread(
        seal.verify_source, Path(new.root), new.image, service=new.service, app=new.app, config=new.config
    )
    if old is None or record.breaking or record.urgent:
        return
    before = await known_schemas(bus, old)
    if before is None:
        raise ContractBroken(
            f"nobody can tell what {old.service} {old.version} takes and replies: "
            "it has no image, and none of its workers answers",
            remedy="start one, or deploy with --breaking if nothing depends on it",
        )
    broken = contract.violations(before, manifest.schemas)
    if broken:
        raise ContractBroken(f"{new.service} {new.version} breaks {old.version}: {'; '.join(broken)}")


async def known_schemas(bus: Bus, version: VersionRecord) -> Mapping[str, Schemas] | None:
    """Return the schemas of a version from its manifest, or else from its workers; None without either."""
    if version.image is not None:
        with contextlib.suppress(NoImage, ImageChanged):  # a damaged old image must not block the new one
            manifest = image.read(Path(version.root).parent)
            if manifest.digest == version.image:
                return manifest.schemas
    inbox = bus.nc.new_inbox()
    answers = await bus.nc.subscribe(inbox)
    try:
        await bus.nc.publish(f"$SRV.SCHEMA.{token(version.service, 'service')}", reply=inbox)
        async with asyncio.timeout(ASK_TIMEOUT):
            async for message in answers.messages:
                found = _schemas(message.data, version.version)
                if found is not None:
                    return found
    except TimeoutError:
        return None
    finally:
        await answers.unsubscribe()
    return None


def _schemas(data: bytes, version: str) -> Mapping[str, Schemas] | None:
    """Return the schemas in a worker's answer, if it is of this version."""
    try:
        answer: dict[str, Any] = orjson.loads(data or b"{}")
        if answer.get("metadata", {}).get("headway.version") != version:
            return None
        return _SCHEMAS.validate_python(answer.get("schemas"))
    except (orjson.JSONDecodeError, ValidationError):
        return None
