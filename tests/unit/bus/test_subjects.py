"""The subject grammar: what is built can be taken apart again, and nothing else gets onto the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.bus.errors import InvalidSubject
from headway.bus.nats import streams
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


@given(tokens, tokens, tokens, tokens, ids, lanes)
def test_every_form_that_has_a_builder_is_taken_apart_again(one, two, three, four, id_, lane):
    assert subjects.parse_rpc(subjects.rpc_mapped(one, two, three, four)) == (one, two, three, four)
    assert subjects.rpc_tenant(subjects.rpc_mapped(one, two, three, four)) == three
    assert subjects.parse_job(subjects.job_mapped(one, two, lane, three, four)) == (one, two, lane, three, four)
    assert subjects.job_addressee(subjects.job_mapped(one, two, lane, three, four)) == (three, four)
    assert subjects.parse_obj(subjects.obj(one, two, id_)) == (one, two, id_)
    assert subjects.parse_live(subjects.live(one, two, id_)) == (one, two, id_)
    assert subjects.parse_dead(subjects.dead(one, two, three)) == (one, two, three)
    assert subjects.parse_beat(subjects.beat(one, two, id_)) == (one, two, id_)
    assert subjects.parse_sync(subjects.sync_pull(one)) == (one, "pull", "", "")
    submit = subjects.sync_submit(one, two, three)
    if three == "pull":
        return  # ends as a pull does
    assert subjects.parse_sync(submit) == (one, "submit", two, three)
    assert subjects.sync_kind(submit) == "submit"


@given(tokens, tokens, tokens, tokens, tokens, lanes)
def test_a_moved_job_differs_in_its_version_alone(service, version, other, tenant, operation, lane):
    moved = subjects.job_moved(subjects.job_mapped(service, version, lane, tenant, operation), other)
    assert subjects.parse_job(moved) == (service, other, lane, tenant, operation)
    assert subjects.job_version(moved) == other


def test_a_job_whose_operation_breaks_the_grammar_still_has_a_version():
    assert subjects.job_version("job.fax.v1.3.acme.BAD_1") == "v1"
    assert subjects.job_moved("job.fax.v1.3.acme.BAD_1", "v2") == "job.fax.v2.3.acme.BAD_1"
    assert subjects.job_version("event.acme.v1") is None


@pytest.mark.parametrize(
    ("parse", "bad"),
    [
        (subjects.parse_rpc, "rpc.a.b.c"),
        (subjects.parse_rpc, "job.a.b.c.d"),
        (subjects.parse_job, "job.a.b.16.c.d"),
        (subjects.parse_job, "job.a.b.01.c.d"),
        (subjects.parse_job, "job.a.b.x.c.d"),
        (subjects.parse_job, "job.a.b.1.c"),
        (subjects.parse_obj, "live.a.b.c"),
        (subjects.parse_live, "obj.a.b.c"),
        (subjects.parse_live, "live.a.head"),
        (subjects.parse_dead, "dead.a.b"),
        (subjects.parse_dead, "beat.a.b.c"),
        (subjects.parse_beat, "beat.a.b.-"),
        (subjects.parse_event, "event.a"),
        (subjects.parse_event, "obj.a.b"),
        (subjects.parse_sync, "sync.a.other.b.c"),
        (subjects.parse_sync, "sync.A.pull"),
        (subjects.parse_sync, "sync.a.submit.b"),
    ],
)
def test_a_parser_refuses_what_its_builder_cannot_make(parse, bad):
    with pytest.raises(InvalidSubject):
        parse(bad)


@given(tokens, lanes)
def test_the_name_of_a_lanes_consumer_is_taken_apart_again(version, lane):
    assert streams.parse_lane_consumer(streams.lane_consumer(version, lane)) == (version, lane)


@pytest.mark.parametrize("name", ["", "-1", "v1", "v1-", "v1-16", "v1-01", "v1-x", "V1-1", "fax_sent", "a_b-1"])
def test_another_consumer_is_no_lanes(name):
    assert streams.parse_lane_consumer(name) is None


@given(tokens, types)
def test_the_name_of_an_event_consumer_is_taken_apart_again(service, type_):
    assert streams.parse_event_consumer(streams.event_consumer(service, type_)) == (service, type_)
    assert streams.parse_lane_consumer(streams.event_consumer(service, type_)) is None


@given(tokens)
def test_the_name_of_a_job_stream_is_taken_apart_again(service):
    assert streams.service_of_jobs(streams.jobs_stream(service)) == service
    assert streams.service_of_jobs(streams.EVENTS) is None


@given(st.text(max_size=300))
def test_anything_fits_a_token(text):
    fitted = subjects.fit(text)
    assert subjects.token(fitted, "operation") == fitted


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
def test_any_text_is_a_key_and_two_texts_are_two_keys(one, other):
    first, second = subjects.key_token(one), subjects.key_token(other)
    assert (first == second) == (one == other)
    assert first.isascii()
    assert first.isprintable()
    assert not set(first) & {" ", "."}
    assert len(first) <= 255


@pytest.mark.parametrize("key", ["order-42", "A_b", "x" * 63])
def test_a_plain_key_stays_as_it_is(key):
    assert subjects.key_token(key) == key


@pytest.mark.parametrize("key", ["order:42", "user@example.com", "0" * 64, "\ud800", "ä" * 255, "a b\r\nc"])
def test_keys_of_any_kind_are_taken(key):
    assert subjects.key_token(key) != ""


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_empty_or_overlong_key_is_refused_with_what_is_allowed(key):
    with pytest.raises(InvalidSubject, match="1 to 255 characters"):
        subjects.key_token(key)


@given(tokens, tokens, tokens)
def test_a_template_has_no_tenant(service, tenant, operation):
    assert subjects.template(subjects.rpc(service, tenant, operation)) == f"rpc.{service}.{{tenant}}.{operation}"
    assert subjects.template(subjects.event(tenant, operation)) == f"event.{{tenant}}.{operation}"


def test_dead_letters_are_filtered_by_service_and_tenant_or_by_neither():
    assert subjects.dead_filter() == "dead.*.*.*"
    assert subjects.dead_filter("fax") == "dead.fax.*.*"
    assert subjects.dead_filter(tenant="acme") == "dead.*.acme.*"
    assert subjects.dead_filter("fax", "acme") == "dead.fax.acme.*"


def test_an_event_type_has_at_most_255_characters():
    longest = ".".join(["a" * 63] * 4)
    assert len(longest) == 255
    assert subjects.event_type(longest) == longest
    too_long = ".".join([*["a" * 63] * 3, "a" * 31, "a" * 32])
    assert len(too_long) == 256
    with pytest.raises(InvalidSubject, match="event type"):
        subjects.event_type(too_long)


def test_an_event_type_that_was_never_seen_is_checked():
    with pytest.raises(InvalidSubject, match="event type"):
        subjects.event_type("Never.Seen")


@pytest.mark.parametrize(
    ("text", "token"),
    [("x" * 64, "x" * 63), ("X" * 70, "x" * 63), ("X-Paren(1)", "x-paren-1-"), ("--", "invalid"), ("ok", "ok")],
)
def test_a_text_is_filed_under_the_token_that_is_most_like_it(text, token):
    assert subjects.fit(text) == token


def test_only_a_job_in_a_queue_has_a_version():
    assert subjects.job_version("job.fax.v1.3.acme") is None
    assert subjects.job_version("rpc.fax.v1.3.acme.send") is None


def test_a_key_whose_quoted_form_just_fits_is_not_hashed():
    assert subjects.key_token("ä" * 42 + "abc") == "%C3%A4" * 42 + "abc"
    assert subjects.key_token("ä" * 42 + "abcd").startswith("=")


@pytest.mark.parametrize(("key", "what"), [("", "an empty key"), ("x" * 256, "a key of 256 characters")])
def test_the_refusal_of_a_key_says_what_is_wrong_with_it(key, what):
    with pytest.raises(InvalidSubject, match=what):
        subjects.key_token(key)


def test_a_subject_with_more_tokens_is_no_shorter_one():
    with pytest.raises(InvalidSubject, match="is not obj"):
        subjects.parse_obj("obj.acme.fax.1.2")


@pytest.mark.parametrize(
    ("source", "service"),
    [
        ("rpc.fax.*.*", "fax"),
        ("job.fax.*.*", None),
        ("fax.rpc.*.*", None),
        ("rpc.fax.*", None),
        ("rpc.fax.*.*.*", None),
        ("rpc.fax.v1.*", None),
        ("rpc.fax.*.send", None),
    ],
)
def test_the_service_of_a_route_is_known_by_its_form(source, service):
    assert subjects.service_of_route(source) == service


@pytest.mark.parametrize("target", ["rpc.fax.v2.*.*", "rpc.fax.v2.x", "job.fax.v2.{{partition(16,1)}}.*.*"])
def test_the_version_of_a_routes_target_is_its_third_token(target):
    assert subjects.version_of_target(target) == "v2"


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("sync.acme.pull", "pull"),
        ("sync.acme.submit.fax.send", "submit"),
        ("sync.acme.other.fax.send", "invalid"),
        ("sync.acme.a.b.pull", "invalid"),
        ("sync.acme", "invalid"),
        ("", "invalid"),
    ],
)
def test_what_a_page_asks_for_is_told_by_the_third_token(subject, kind):
    assert subjects.sync_kind(subject) == kind


@pytest.mark.parametrize("subject", ["event", "rpc.fax", "obj"])
def test_a_subject_that_is_too_short_to_have_a_tenant_is_its_own_template(subject):
    assert subjects.template(subject) == subject
