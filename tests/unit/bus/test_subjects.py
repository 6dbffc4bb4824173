"""The subject grammar: what is built can be taken apart again, and nothing else gets onto the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import InvalidSubject
from headway.bus.wire import subjects

tokens = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
types = st.lists(tokens, min_size=1, max_size=3).map(".".join)
lanes = st.integers(0, subjects.LANES - 1)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True)
anything = st.text(max_size=80)


@given(tokens, tokens, tokens, tokens, lanes)
def test_what_is_built_is_taken_apart_again(service, version, tenant, operation, lane):
    rpc = f"rpc.{service}.{version}.{tenant}.{operation}"
    assert subjects.parse_rpc(rpc) == (service, version, tenant, operation)
    job = f"job.{service}.{version}.{lane}.{tenant}.{operation}"
    assert subjects.parse_job(job) == (service, version, lane, tenant, operation)


@given(tokens, types)
def test_an_event_keeps_its_type_of_several_tokens(tenant, type_):
    assert subjects.parse_event(subjects.event(tenant, type_)) == (tenant, type_)


@given(tokens, tokens, tokens)
def test_the_plain_and_the_mapped_form_have_different_numbers_of_tokens(service, tenant, operation):
    assert subjects.rpc(service, tenant, operation).count(".") == 3
    assert subjects.job(service, tenant, operation).count(".") == 3
    assert subjects.rpc_endpoint(service, "v1", operation).count(".") == 4
    assert subjects.job_stream_subject(service).count(".") == 5


@given(anything)
def test_a_token_is_accepted_exactly_if_it_follows_the_grammar(text):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    valid = 1 <= len(text) <= 63 and text[0] in letters and all(char in letters + "-" for char in text)
    if valid:
        assert subjects.token(text, "tenant") == text
    else:
        with pytest.raises(InvalidSubject):
            subjects.token(text, "tenant")


@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "A", "a b", "a\n", "-a", "ä", "a" * 64, "a_b", "$SYS"])
@pytest.mark.parametrize(
    "build",
    [
        lambda bad: subjects.rpc("s", bad, "o"),
        lambda bad: subjects.rpc(bad, "t", "o"),
        lambda bad: subjects.job("s", "t", bad),
        lambda bad: subjects.event(bad, "type"),
        lambda bad: subjects.obj("t", bad, "id"),
        lambda bad: subjects.dead("s", bad, "o"),
        lambda bad: subjects.queue_group("s", bad),
        lambda bad: subjects.dead_filter(bad, None),
    ],
)
def test_no_part_of_a_subject_can_address_somebody_else(build, bad):
    with pytest.raises(InvalidSubject) as caught:
        build(bad)
    assert repr(bad) in str(caught.value)


@given(ids)
def test_ids_may_have_upper_case_and_underscores(id_):
    assert subjects.obj("acme", "fax", id_) == f"obj.acme.fax.{id_}"


@pytest.mark.parametrize("bad", ["", "a.b", "*", "_a", "a" * 64, "a/b"])
def test_other_ids_are_refused(bad):
    with pytest.raises(InvalidSubject, match=r"upper|letters"):
        subjects.obj("acme", "fax", bad)


@pytest.mark.parametrize("lane", [-1, 16, 1000])
def test_there_are_sixteen_lanes(lane):
    with pytest.raises(InvalidSubject, match="0 to 15"):
        subjects.job_lane("fax", "v1", lane)


@given(anything)
def test_no_text_breaks_a_parser_other_than_by_its_own_error(text):
    for parse in (subjects.parse_rpc, subjects.parse_job, subjects.parse_event):
        try:
            parse(text)
        except InvalidSubject:
            continue


def test_many_different_names_do_not_fill_the_memory():
    for n in range(10_000):
        subjects.token(f"tenant-{n}", "tenant")
    assert len(subjects._known) <= 4096
