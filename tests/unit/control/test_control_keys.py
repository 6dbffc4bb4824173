"""The keys of control records: what the builders make, the parser takes apart, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.control.store import (
    RecordKey,
    evidence_key,
    keys_of,
    lease_key,
    parse_key,
    parse_subject,
    rollout_key,
    scale_key,
    service_key,
    version_key,
)

ROOT = Path(__file__).parents[3]
tokens = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
BUILDERS = {
    "service": service_key,
    "version": version_key,
    "scale": scale_key,
    "rollout": rollout_key,
    "evidence": evidence_key,
    "lease": lease_key,
}
VERSIONED = {"version", "scale"}


def build(key: RecordKey) -> str:
    return BUILDERS[key.family](*([key.owner, key.version] if key.family in VERSIONED else [key.owner]))


@pytest.mark.parametrize("family", BUILDERS)
@given(owner=tokens, version=tokens)
def test_a_key_that_was_built_is_taken_apart_into_what_it_was_built_of(family, owner, version):
    key = RecordKey(family, owner, version if family in VERSIONED else "")
    assert parse_key(build(key)) == key
    assert parse_subject(f"$KV.CONTROL.{build(key)}") == key
    assert parse_subject(build(key)) is None


words = st.sampled_from([*BUILDERS, "copy", "probe", "", "fax", "v1", "Fax", "*", ">", "a b"]) | st.text(max_size=5)


@given(st.lists(words, max_size=4).map(".".join))
def test_what_is_taken_apart_is_exactly_what_builds_the_same_key(text):
    key = parse_key(text)
    assert key is None or build(key) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "service", "service.", "service.fax.v1", "version.fax", "version.fax.v1.w1", "scale.fax", "rollout.Fax"),
        *("copy.service.fax", "probe.doctor", "lease.a.b", "service.fax\n"),
    ],
)
def test_what_is_no_records_key_is_none(text):
    assert parse_key(text) is None


def test_the_keys_of_a_service_are_those_about_it_alone():
    keys = ["service.fax", "version.fax.v1", "scale.fax.v1", "version.calls.fax", "lease.fax", "copy.service.fax", "x"]
    assert list(keys_of("fax", keys)) == ["service.fax", "version.fax.v1", "scale.fax.v1"]


def test_nobody_but_the_store_takes_keys_apart_by_hand():
    # `key.split(".")`, `key.partition(".")` and their like, in whatever reads control records.
    found = []
    for part in ("control", "deployer", "scaler", "broker", "headway"):
        for path in (ROOT / part).rglob("*.py"):
            if path == ROOT / "control/store.py" or "import" not in (text := path.read_text()):
                continue
            if "headway.control.store" not in text and "unreadable" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                match node:
                    case ast.Call(func=ast.Attribute(ast.Name("key"), "split" | "rsplit" | "partition" | "rpartition")):
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
