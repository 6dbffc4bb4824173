"""Routes: compiled into mappings that share out exactly everything, or refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import routes
from broker.errors import BadRoutes

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True)


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
    versions = draw(st.lists(names, min_size=len(shares), max_size=len(shares), unique=True))
    return dict(zip(versions, shares, strict=True))


def matches(pattern: str, subject: str) -> bool:
    pairs = zip(pattern.split("."), subject.split("."), strict=False)
    return pattern.count(".") == subject.count(".") and all(p in {"*", s} for p, s in pairs)


@given(st.dictionaries(names, weights(), max_size=4))
def test_each_plain_subject_is_matched_by_exactly_one_mapping_of_total_weight_100(wanted: routes.Routes) -> None:
    compiled = routes.compile(wanted)
    for service in wanted:
        for kind in ("rpc", "job"):
            found = [source for source in compiled if matches(source, f"{kind}.{service}.acme.send")]
            assert found == [f"{kind}.{service}.*.*"]
            assert sum(target.weight for target in compiled[found[0]]) == 100
            assert all(target.weight for target in compiled[found[0]])


@given(st.dictionaries(names, weights(), max_size=4))
def test_routes_can_be_read_back_from_their_mappings(wanted: routes.Routes) -> None:
    expected = {service: {v: w for v, w in versions.items() if w} for service, versions in wanted.items()}
    assert routes.decompile(routes.compile(wanted)) == expected


def test_jobs_go_to_one_of_sixteen_lanes_by_tenant() -> None:
    compiled = routes.compile({"fax": {"v1": 95, "v2": 5, "v0": 0}})
    assert [(target.subject, target.weight) for target in compiled["job.fax.*.*"]] == [
        ("job.fax.v1.{{partition(16,1)}}.{{wildcard(1)}}.{{wildcard(2)}}", 95),
        ("job.fax.v2.{{partition(16,1)}}.{{wildcard(1)}}.{{wildcard(2)}}", 5),
    ]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"fax": {"v1": 99}}, "the weights of fax total 99, not 100"),
        ({"fax": {"v1": 60, "v2": 60}}, "total 120"),
        ({"fax": {}}, "total 0"),
        ({"fax": {"v1": 101, "v2": -1}}, "weight 101 is not"),
        ({"fax": {"v1": 99.5, "v2": 0.5}}, "weight 99.5 is not"),
        ({"fax": {"v1": True, "v2": 99}}, "weight True is not"),
        ({"fax.*": {"v1": 100}}, "'fax.*' is not a valid service"),
        ({"fax": {">": 100}}, "'>' is not a valid version"),
    ],
)
def test_routes_that_would_lose_traffic_are_refused(wanted: routes.Routes, why: str) -> None:
    with pytest.raises(BadRoutes) as caught:
        routes.compile(wanted)
    assert why in str(caught.value)
    assert caught.value.remedy
