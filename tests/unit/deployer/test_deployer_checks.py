"""Checks: how they are read, and what their answers have to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.control.records import CallCheck, HttpCheck, QueryCheck
from headway.deployer import checks
from headway.deployer.checks import meets, name, parse
from headway.deployer.errors import BadCheck, NotProven
from headway.deployer.rollout.proof import check_split

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def test_a_call_is_read_with_its_request_and_what_is_expected():
    assert parse('call acme.status {"fax": "f1"} -> {"state": "sent"}') == CallCheck(
        tenant="acme", operation="status", request={"fax": "f1"}, expect={"state": "sent"}
    )
    assert parse("  call acme.status ") == CallCheck(tenant="acme", operation="status")
    assert parse("call acme.ping -> true").expect is True
    assert name(parse("call acme.ping -> true")) == "call acme.ping"


def test_a_query_is_read_with_its_bound():
    query = 'sum(rate(errors_total{version="v2"}[1m])) / sum(rate(calls_total[1m]))'
    assert parse(f"query http://prometheus:9090 {query} < 0.05") == QueryCheck(
        url="http://prometheus:9090", query=query, sense="<", bound=0.05
    )
    assert parse("query https://p up >= 1").sense == ">="


def test_a_page_is_read_with_the_status_that_is_expected():
    assert parse("http http://fax-{version}/health -> 204") == HttpCheck(url="http://fax-{version}/health", status=204)
    assert parse("http https://p/").status is None
    assert name(parse("http https://p/")) == "http https://p/"


@pytest.mark.parametrize(
    ("answers", "ok"),
    [
        ({"v2": True, "v1": True}, True),
        ({"v2": False, "v1": True}, False),
        ({"v2": False, "v1": False}, None),
        ({"v2": False, "v1": None}, False),
        ({"v2": None, "v1": True}, False),
        ({"v2": None, "v1": None}, None),
    ],
)
async def test_a_page_is_compared_with_that_of_the_version_before(monkeypatch, answers, ok):
    async def asked(_check, version):
        return answers[version], f"{version} said so"

    monkeypatch.setattr(checks, "_asked", asked)
    found = await checks.run(None, "fax", "v2", "v1", parse("http http://fax-{version}/health"))
    assert found.ok is ok


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ping",
        "call status",
        "call acme.status {broken -> 1",
        "call Acme.status",
        "query up < 1",
        "query http://p up",
        "query http://p up < much",
        "call acme.status -> {",
    ],
)
def test_what_is_no_check_is_refused_with_how_to_write_one(text):
    with pytest.raises(BadCheck) as caught:
        parse(text)
    assert "call TENANT.OPERATION" in caught.value.remedy


@given(values)
def test_an_answer_meets_itself(value):
    assert meets(value, value)


@given(st.dictionaries(st.text(max_size=3), values, max_size=4), st.dictionaries(st.text(max_size=3), values))
def test_an_answer_may_have_more_fields_than_are_expected(expected, more):
    assert meets(expected, {**more, **expected})


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"state": "sent"}, {"state": "failed"}),
        ({"state": "sent"}, {}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ({"a": 1}, None),
        (1, 2),
        ([1], [1, 2]),
    ],
)
def test_an_answer_that_is_different_does_not_meet(expected, found):
    assert not meets(expected, found)


def test_a_split_that_can_come_of_the_weights_is_fine():
    check_split("fax", {"v1": 95, "v2": 5}, {"v1": 187, "v2": 13})
    check_split("fax", {"v2": 100}, {"v2": 200})


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        ({"v1": 95, "v2": 5}, {"v1": 5, "v2": 195}),
        ({"v1": 95, "v2": 5}, {"v1": 150, "v2": 50}),
        ({"v2": 100}, {"v2": 199, "v1": 1}),
        ({"v1": 50, "v2": 50}, {"v1": 200}),
        ({"v1": 100}, {}),
    ],
)
def test_a_split_that_cannot_is_refused(expected, seen):
    with pytest.raises(NotProven, match="probes of fax"):
        check_split("fax", expected, seen)
