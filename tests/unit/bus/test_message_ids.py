"""Message ids that end in a code made with a secret."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.bus.client.ids import BLOCK, MessageIds, tenant_secret, unique_id

ROOT = b"\x01" * 32


def creds(secret: str) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\nx\n------END\n\n-----BEGIN {BLOCK}-----\n{secret}\n------END {BLOCK}------\n"
    )


def test_a_client_makes_the_ids_that_the_installation_makes_for_its_tenant_and_no_others():
    all_, acme = MessageIds.of(creds(f"root:{ROOT.hex()}")), MessageIds(tenant_secret(ROOT, "acme"), root=False)
    assert MessageIds.of(creds(f"tenant:{tenant_secret(ROOT, 'acme').hex()}")).keyed("acme", "a", "k") == acme.keyed(
        "acme", "a", "k"
    )
    assert all_.keyed("acme", "send", "k") == acme.keyed("acme", "send", "k")
    assert all_.keyed("globex", "send", "k") != acme.keyed("globex", "send", "k")


@given(st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
def test_the_same_key_has_the_same_id_and_another_key_another(one, other):
    ids = MessageIds(ROOT)
    assert ids.keyed("acme", "send", one) == ids.keyed("acme", "send", one)
    assert (ids.keyed("acme", "send", one) == ids.keyed("acme", "send", other)) == (one == other)


def test_ids_of_an_installation_without_credentials_or_with_old_ones_still_work():
    assert MessageIds().keyed("acme", "send", "k").startswith("acme.send.k.")
    old = MessageIds.of("-----BEGIN NATS USER JWT-----\nx\n------END\n")
    assert old.keyed("acme", "send", "k") != MessageIds().keyed("acme", "send", "k")


def test_a_proof_holds_for_its_tenant_and_values_alone():
    ids = MessageIds(ROOT)
    proof = ids.prove("acme", "id", "")
    assert ids.proven(proof, "acme", "id", "")
    for wrong in (("globex", "id", ""), ("acme", "", "id"), ("acme", "id2", "")):
        assert not ids.proven(proof, *wrong)
    assert not ids.proven(None, "acme", "id", "")
    assert not ids.proven("\u00fc", "acme", "id", "")


def test_fresh_ids_have_22_letters_and_digits():
    made = {unique_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == 22 and one.isascii() and one.isalnum() for one in made)


def test_an_id_of_headway_itself_is_as_long_as_a_fresh_one():
    assert len(MessageIds(ROOT).own("replay.17")) == len(unique_id())
