"""Signatures of images: who may sign, what a signature covers, and what an upgrade and a promotion do."""

from __future__ import annotations

import base64
import json
import shutil

import pytest

from headway.bus.errors import ConfigError
from headway.images import image, provenance, sbom, seal, signing, store
from headway.images.errors import ImageChanged, NotSigned
from headway.images.seal import Sealer
from tests.support.made_image import FILES, manifest, rewrite


@pytest.fixture
def home(tmp_path):
    """A data directory with one image that its own key has signed."""
    directory = tmp_path / "home"
    sealer = signing.own(directory)
    digest = store.publish(directory, manifest(), FILES)
    signing.sign_built(directory, manifest(), sealer)
    return directory, digest


def checked(directory, digest):
    return seal.verify(image.folder(directory, digest), digest)


def statement_of(directory, digest):
    return seal.statement_path(directory / image.IMAGES, digest)


def test_what_is_built_is_signed_with_the_environments_own_key(home):
    directory, digest = home
    assert checked(directory, digest) == manifest()
    assert (directory / seal.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert list(seal.trusted(directory)) == [seal.OWN]


def test_the_statement_names_source_builder_and_lock(home):
    directory, digest = home
    statement = seal.check(image.folder(directory, digest), digest)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "app:v1", "digest": {"sha256": digest}}]
    made, ran = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert {one["name"]: one["digest"]["sha256"] for one in made["resolvedDependencies"]} == {
        "source": provenance.source_digest(manifest()),
        "lock": provenance.lock_digest(manifest()),
    }
    assert ran["builder"]["version"]["headway"]
    stored = seal.sbom_path(directory / image.IMAGES, digest).read_bytes()
    assert ran["byproducts"][0]["digest"]["sha256"] == provenance._sha256(stored)


def test_the_bill_of_materials_names_every_requirement_and_is_always_the_same():
    made = manifest(requirements={"orjson": "3.10.0", "click": "8.1.0"})
    found = json.loads(sbom.document(made))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert [one["purl"] for one in found["components"]] == [
        "pkg:pypi/headway@0.1.0",
        "pkg:pypi/click@8.1.0",
        "pkg:pypi/orjson@3.10.0",
    ]
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": made.digest}]
    assert sbom.document(made) == sbom.document(made)


def test_an_image_without_a_statement_is_refused(home):
    directory, digest = home
    statement_of(directory, digest).unlink()
    with pytest.raises(NotSigned, match="is not signed") as refused:
        checked(directory, digest)
    assert "headway image sign" in refused.value.remedy


def forged(envelope: dict, **changed) -> bytes:
    return json.dumps({**envelope, **changed}).encode()


def test_a_forged_statement_is_refused(home, tmp_path):
    directory, digest = home
    path = statement_of(directory, digest)
    good = json.loads(path.read_bytes())
    [signature] = good["signatures"]
    mallory = Sealer.create(tmp_path / "mallory")
    payload = base64.b64decode(good["payload"])
    other = store.publish(directory, manifest(version="v2"), FILES)
    about_other = base64.b64encode(provenance.adopted(manifest(version="v2"), "x")).decode()
    forgeries = {
        "another signer": forged(good, signatures=[mallory.sign(payload)]),
        "another signer under the trusted name": forged(
            good, signatures=[{**mallory.sign(payload), "keyid": signature["keyid"]}]
        ),
        "no signature": forged(good, signatures=[]),
        "another payload": forged(good, payload=about_other),
        "another type": forged(good, payloadType="text/plain"),
        "not an envelope": b"{}",
        "not JSON": b"x",
        "odd signatures": forged(good, signatures=[1, {}, {"keyid": signature["keyid"], "sig": "%"}]),
    }
    for name, content in forgeries.items():
        rewrite(path, content)
        with pytest.raises(NotSigned):
            checked(directory, digest)
            pytest.fail(name)
    rewrite(path, json.dumps(good).encode())
    checked(directory, digest)
    shutil.copy(path, statement_of(directory, other))  # a good statement, of another image
    with pytest.raises(NotSigned, match="about another image"):
        checked(directory, other)


def test_a_signed_image_that_was_changed_is_still_refused(home):
    directory, digest = home
    rewrite(image.folder(directory, digest) / "src/app/__init__.py", b"app = 2\n")
    with pytest.raises(ImageChanged):
        checked(directory, digest)


def test_a_key_of_another_machine_signs_once_it_is_trusted_and_no_longer_than_that(home, tmp_path):
    directory, _ = home
    release = Sealer.create(tmp_path / "release-key")
    made = manifest(version="v2")
    digest = store.publish(directory, made, FILES)
    signing.sign_built(directory, made, Sealer.load(tmp_path / "release-key"))
    with pytest.raises(NotSigned, match="does not trust"):
        checked(directory, digest)
    seal.trust(directory, "ci", release.public)
    assert checked(directory, digest) == made
    seal.distrust(directory, "ci")
    with pytest.raises(NotSigned):
        checked(directory, digest)


def test_containers_are_told_whom_to_trust(home, monkeypatch):
    directory, digest = home
    told = seal.accepted_here(image.folder(directory, digest) / image.SOURCE)
    (directory / seal.TRUSTED_FILE).unlink()
    monkeypatch.setenv(seal.TRUSTED_VARIABLE, told)
    checked(directory, digest)
    monkeypatch.setenv(seal.TRUSTED_VARIABLE, "")
    with pytest.raises(NotSigned):
        checked(directory, digest)


def test_keys_that_are_unfit_are_refused(home, tmp_path):
    directory, _ = home
    for text in ("", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "ed25519:%%"):
        with pytest.raises(ConfigError, match="no public key"):
            seal.trust(directory, "x", text)
    with pytest.raises(ConfigError, match="another key has the name"):
        seal.trust(directory, seal.OWN, Sealer.create(tmp_path / "one").public)
    with pytest.raises(ConfigError, match="exists"):
        Sealer.create(tmp_path / "one")
    (tmp_path / "one").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        Sealer.load(tmp_path / "one")
    with pytest.raises(ConfigError, match="holds no key"):
        Sealer.load(tmp_path / "missing")


def test_an_upgrade_signs_the_images_of_an_earlier_version_once(tmp_path):
    digest = store.publish(tmp_path, manifest(), FILES)
    damaged = store.publish(tmp_path, manifest(version="v2"), FILES)
    rewrite(image.folder(tmp_path, damaged) / "src/app/__init__.py", b"app = 2\n")
    assert "1 of an earlier version" in signing.upgrade(tmp_path)
    checked(tmp_path, digest)
    planted = store.publish(tmp_path, manifest(version="v3"), FILES)
    assert signing.upgrade(tmp_path) is None
    with pytest.raises(NotSigned):
        checked(tmp_path, planted)
    signing.sign_trusted(tmp_path, planted, "ada")
    checked(tmp_path, planted)


def test_a_new_installation_has_nothing_to_upgrade(tmp_path):
    assert signing.upgrade(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_promotion_checks_the_signature_and_adds_that_of_the_target(home, tmp_path):
    directory, digest = home
    store.copy(directory, tmp_path / "prod", digest)
    checked(tmp_path / "prod", digest)
    envelope = json.loads(statement_of(tmp_path / "prod", digest).read_bytes())
    assert len(envelope["signatures"]) == 2
    assert envelope["payload"] == json.loads(statement_of(directory, digest).read_bytes())["payload"]
    statement_of(directory, digest).unlink()
    with pytest.raises(NotSigned):
        store.copy(directory, tmp_path / "other", digest)
    assert image.digests(tmp_path / "other") == []


def test_a_target_without_a_key_of_its_own_takes_what_it_trusts(home, tmp_path):
    directory, digest = home
    prod = tmp_path / "prod"
    seal.trust(prod, "ci", Sealer.create(tmp_path / "ci").public)
    with pytest.raises(NotSigned, match="does not trust"):
        store.copy(directory, prod, digest)
    assert image.digests(prod) == []
    seal.trust(prod, "staging", seal.own(directory).public)
    store.copy(directory, prod, digest)
    assert not (prod / seal.KEY_FILE).exists()
