"""Sign images: when they are built, when their owner trusts them, and once when an installation is upgraded."""

from __future__ import annotations

from pathlib import Path

from headway.broker import atomic
from headway.bus.errors import HeadwayError
from headway.images import image, provenance, sbom, seal
from headway.images.image import Manifest
from headway.images.seal import Sealer


def sign_built(data_dir: Path, manifest: Manifest, sealer: Sealer | None = None) -> None:
    """Sign an image that was built just now, and store its bill of materials. An image that is signed stays as it is.

    Args:
        data_dir: the data directory with the image.
        manifest: of the image.
        sealer: signs; by default the environment's own key.
    """
    sealer = sealer or own(data_dir)
    digest, images = manifest.digest, data_dir / image.IMAGES
    materials = sbom.document(manifest)
    try:
        seal.check(image.folder(data_dir, digest), digest, frozenset({sealer.public}))
    except HeadwayError:
        seal.attach(data_dir, digest, provenance.built(manifest, materials), sealer)
    path = seal.sbom_path(images, digest)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(path, materials)


def sign_trusted(data_dir: Path, digest: str, by: str, sealer: Sealer | None = None) -> Manifest:
    """Sign an image that its owner trusts and that was not built here.

    Raises:
        NoImage, ImageChanged: if there is no such image, or it is not what was built.
    """
    manifest = image.verify(image.folder(data_dir, digest), digest)
    seal.attach(data_dir, digest, provenance.adopted(manifest, by), sealer or own(data_dir))
    return manifest


def own(data_dir: Path) -> Sealer:
    """Return the environment's own signer. Before its key is made, images of earlier versions are signed with it."""
    adopt(data_dir)
    return seal.own(data_dir)


def adopt(data_dir: Path) -> list[str]:
    """Sign the images of an installation that has no key yet: an earlier version built them. Return their digests.

    Only once: afterwards an image without a signature is one that somebody has put there.
    """
    images = data_dir / image.IMAGES
    found = [digest for digest in image.digests(data_dir) if not seal.statement_path(images, digest).exists()]
    if not found or (data_dir / seal.KEY_FILE).exists() or (data_dir / seal.TRUSTED_FILE).exists():
        return []
    sealer, signed = seal.own(data_dir), []
    for digest in found:
        try:
            sign_trusted(data_dir, digest, "upgrade of an installation without signatures", sealer)
            signed.append(digest)
        except HeadwayError:
            continue  # it was changed since it was built, and does not start anyway
    return signed


def upgrade(data_dir: Path) -> str | None:
    """Sign the images of an installation of an earlier version; return a notice for the operator, if there were any."""
    signed = adopt(data_dir)
    if not signed:
        return None
    return f"images are signed now: {len(signed)} of an earlier version were signed with the key {seal.KEY_FILE}"


def carry_over(origin: Path, target: Path, digest: str) -> None:
    """Copy an image's statement to another environment, and sign it with that environment's key, if it is there.

    Raises:
        NotSigned: if a key that the origin trusts has not signed the image; or if the target has no key of its own,
            and trusts none of those that have.
    """
    seal.check(image.folder(origin, digest), digest)
    adopt(target)
    payload_of = seal.statement_path(origin / image.IMAGES, digest)
    copied = seal.statement_path(target / image.IMAGES, digest)
    copied.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(copied, payload_of.read_bytes())
    materials = seal.sbom_path(origin / image.IMAGES, digest)
    if materials.exists():
        atomic.write(seal.sbom_path(target / image.IMAGES, digest), materials.read_bytes())
    if (target / seal.KEY_FILE).exists() or not seal.trusted(target):
        seal.countersign(target, digest, seal.own(target))
    seal.check(image.folder(target, digest), digest)
