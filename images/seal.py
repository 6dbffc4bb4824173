"""Signatures of images: made at build, checked before anything is started from one.

    <data dir>/image-key                              the environment's private key (ed25519), mode 0600
    <data dir>/trusted-keys.json                      public keys by name, whose images run here
    <data dir>/images/attestations/<digest>.json      the signed statement about an image (images/provenance.py)
    <data dir>/images/attestations/<digest>.cdx.json  its bill of materials (images/sbom.py)

A statement is an in-toto statement in a DSSE envelope, so other tools can check it, too. Whoever builds elsewhere keeps
the private key there, and has its public key trusted here.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import nacl.exceptions
import nacl.signing
import orjson

from headway.broker import atomic
from headway.bus.errors import ConfigError
from headway.images import image
from headway.images.errors import NotSigned
from headway.images.image import Manifest

KEY_FILE: Final = "image-key"
TRUSTED_FILE: Final = "trusted-keys.json"
TRUSTED_VARIABLE: Final = "HEADWAY_TRUSTED_KEYS"
"""Public keys joined by commas, for workers that do not see the data directory, as in containers."""
ATTESTATIONS: Final = "attestations"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
OWN: Final = "this environment"
"""Name of the environment's own key among those that it trusts."""
_LOCK: Final = ".seal.lock"
_PREFIX: Final = "ed25519:"


@dataclass(frozen=True, slots=True)
class Sealer:
    """Signs with one private key.

    Attributes:
        public: its public key as text.
    """

    public: str
    _key: nacl.signing.SigningKey

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the signer with the key in a file.

        Raises:
            ConfigError: if it holds none, or others may read it.
        """
        try:
            mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
            seed = base64.b64decode(text, validate=True)
            key = nacl.signing.SigningKey(seed)
        except (OSError, ValueError, UnicodeDecodeError, nacl.exceptions.CryptoError) as error:
            remedy = "give the file that `headway image keys --new FILE` has written"
            raise ConfigError(f"{path} holds no key for images", remedy=remedy) from error
        if mode & 0o077:
            raise ConfigError(f"others may read {path}", remedy=f"chmod 600 {path}, and make another key if they did")
        return cls(_text(key.verify_key), key)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Write a new key into a new file, and return its signer.

        Raises:
            ConfigError: if the file exists.
        """
        key = nacl.signing.SigningKey.generate()
        if not atomic.create(path, base64.b64encode(bytes(key)) + b"\n"):
            raise ConfigError(f"{path} exists", remedy="name a new file: a key replaces none")
        return cls(_text(key.verify_key), key)

    def sign(self, payload: bytes) -> dict[str, str]:
        """Return the signature of a statement, as an envelope holds it."""
        signature = self._key.sign(_encoded(payload)).signature
        return {"keyid": self.public, "sig": base64.b64encode(signature).decode()}


def own(data_dir: Path) -> Sealer:
    """Return the signer of an environment. At first it makes the key, and trusts it.

    Raises:
        ConfigError: if the key cannot be used.
    """
    with _locked(data_dir):
        if not (data_dir / KEY_FILE).exists():
            made = Sealer.create(data_dir / KEY_FILE)
            _trust(data_dir, OWN, made.public)
        return Sealer.load(data_dir / KEY_FILE)


def trusted(data_dir: Path) -> Mapping[str, str]:
    """Return the public keys that an environment trusts, by name.

    Raises:
        ConfigError: if the file cannot be read.
    """
    try:
        found = orjson.loads((data_dir / TRUSTED_FILE).read_bytes())
        return {str(name): _text(_public(str(key))) for name, key in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        remedy = "restore it from a backup, or write it again with `headway image trust`"
        raise ConfigError(f"{data_dir / TRUSTED_FILE} cannot be read: {error}", remedy=remedy) from error


def trust(data_dir: Path, name: str, public: str) -> None:
    """Trust a public key from now on.

    Raises:
        ConfigError: if it is no key, or the name is that of another one.
    """
    try:
        public = _text(_public(public))
    except ValueError as error:
        raise ConfigError(f"{public!r} is no public key", remedy="`headway image keys` prints one") from error
    with _locked(data_dir):
        if trusted(data_dir).get(name, public) != public:
            raise ConfigError(f"another key has the name {name!r}", remedy="choose another name, or remove that key")
        _trust(data_dir, name, public)


def distrust(data_dir: Path, name: str) -> None:
    """Trust a key no longer: images that it alone has signed do not start any more.

    Raises:
        ConfigError: if there is no such key.
    """
    with _locked(data_dir):
        known = dict(trusted(data_dir))
        if known.pop(name, None) is None:
            raise ConfigError(f"no trusted key has the name {name!r}", remedy="`headway image keys` lists them")
        atomic.write(data_dir / TRUSTED_FILE, orjson.dumps(known, option=orjson.OPT_INDENT_2))


def attach(data_dir: Path, digest: str, payload: bytes, sealer: Sealer) -> None:
    """Store the signed statement of an image; an earlier one with the same content keeps its signatures."""
    path = statement_path(data_dir / image.IMAGES, digest)
    signatures = [sealer.sign(payload)]
    known = _envelope(path)
    if known is not None and known[0] == payload:
        signatures += [one for one in known[1] if one.get("keyid") != sealer.public]
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": signatures,
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(path, orjson.dumps(envelope))
    path.chmod(0o444)


def countersign(data_dir: Path, digest: str, sealer: Sealer) -> None:
    """Add a signature to the statement of an image.

    Raises:
        NotSigned: if there is none.
    """
    known = _envelope(statement_path(data_dir / image.IMAGES, digest))
    if known is None:
        raise NotSigned(f"image {digest[:12]} is not signed", remedy="sign it with `headway image sign`")
    attach(data_dir, digest, known[0], sealer)


def statement_path(images: Path, digest: str) -> Path:
    """Return the file of an image's signed statement."""
    return images / ATTESTATIONS / f"{digest}.json"


def sbom_path(images: Path, digest: str) -> Path:
    """Return the file of an image's bill of materials."""
    return images / ATTESTATIONS / f"{digest}.cdx.json"


def check(root: Path, digest: str, keys: frozenset[str] | None = None) -> dict[str, Any]:
    """Check that a trusted key has signed the image in `root`; return the statement about it.

    It does not read the image itself: `image.verify` compares that with the digest.

    Args:
        root: the image's folder.
        digest: the image's digest.
        keys: trusted public keys; those of the environment that holds the image by default.

    Raises:
        NotSigned: if it is not signed, or by no trusted key.
    """
    images, what = root.parent, f"image {digest[:12]}"
    sign = f"build it again here; or, if you trust it, run `headway image sign {digest[:12]}`"
    known = _envelope(statement_path(images, digest))
    if known is None:
        raise NotSigned(f"{what} is not signed", remedy=sign)
    payload, signatures = known
    accepted = _accepted(images.parent) if keys is None else keys
    if not any(_holds(one, payload, accepted) for one in signatures):
        names = ", ".join(sorted(str(one.get("keyid"))[:20] for one in signatures)) or "nobody"
        raise NotSigned(
            f"{what} is signed by {names}, whom this environment does not trust",
            remedy=f"if you trust that key, run `headway image trust NAME KEY`; otherwise {sign}",
        )
    try:
        statement: dict[str, Any] = orjson.loads(payload)
        subjects = {one["digest"]["sha256"] for one in statement["subject"]}
    except (ValueError, KeyError, TypeError) as error:
        raise NotSigned(f"the statement about {what} cannot be read", remedy=sign) from error
    if digest not in subjects:
        raise NotSigned(f"the statement about {what} is about another image", remedy=sign)
    return statement


def verify(root: Path, digest: str) -> Manifest:
    """Compare every byte of an image with its digest, and check that a trusted key has signed it.

    Raises:
        NoImage, ImageChanged: as `image.verify`.
        NotSigned: as `check`.
    """
    manifest = image.verify(root, digest)
    check(root, digest)
    return manifest


def verify_source(source: Path, digest: str, *, service: str, app: str, config: Mapping[str, Any]) -> Manifest:
    """Verify an image before running `app` from its source with a configuration, as `image.verify_source` and `check`.

    Raises:
        NoImage, ImageChanged, NotSigned: likewise.
    """
    manifest = image.verify_source(source, digest, service=service, app=app, config=config)
    check(source.parent, digest)
    return manifest


def accepted_here(source: Path) -> str:
    """Return the value of `HEADWAY_TRUSTED_KEYS` for workers that do not see a data directory.

    Args:
        source: directory of an image's source in the data directory.
    """
    images = source.parent.parent
    return ",".join(sorted(_accepted(images.parent)))


def _accepted(data_dir: Path) -> frozenset[str]:
    if (given := os.environ.get(TRUSTED_VARIABLE)) is not None:
        return frozenset(given.split(","))
    return frozenset(trusted(data_dir).values())


def _holds(signature: Mapping[str, Any], payload: bytes, accepted: frozenset[str]) -> bool:
    key = signature.get("keyid")
    if key not in accepted:
        return False
    try:
        _public(str(key)).verify(_encoded(payload), base64.b64decode(str(signature.get("sig")), validate=True))
    except (ValueError, nacl.exceptions.CryptoError):
        return False
    return True


def _envelope(path: Path) -> tuple[bytes, list[dict[str, Any]]] | None:
    """Return payload and signatures of an envelope; None if there is none that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
        if found["payloadType"] != PAYLOAD_TYPE:
            return None
        signatures = [one for one in found["signatures"] if isinstance(one, dict)]
        return base64.b64decode(found["payload"], validate=True), signatures
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encoded(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(key: nacl.signing.VerifyKey) -> str:
    return _PREFIX + base64.b64encode(bytes(key)).decode()


def _public(text: str) -> nacl.signing.VerifyKey:
    if not text.startswith(_PREFIX):
        raise ValueError(f"{text!r} does not begin with {_PREFIX}")
    try:
        return nacl.signing.VerifyKey(base64.b64decode(text.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, nacl.exceptions.CryptoError) as error:
        raise ValueError(f"{text!r} is no public key") from error


def _trust(data_dir: Path, name: str, public: str) -> None:
    content = orjson.dumps({**trusted(data_dir), name: public}, option=orjson.OPT_INDENT_2)
    atomic.write(data_dir / TRUSTED_FILE, content)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
