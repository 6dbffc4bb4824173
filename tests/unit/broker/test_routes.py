"""Routes: compiled into mappings that share out exactly everything, or refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.broker import routes
from headway.broker.claims import Account, Permission, Scope, WeightedMapping, decode
from headway.broker.errors import BadRoutes
from headway.broker.identity import Identities, TrafficPolicy
from headway.broker.roles import OUTSIDE, ROLES, TEMPLATES

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


def test_jobs_go_to_one_of_eight_common_lanes_by_tenant() -> None:
    compiled = routes.compile({"fax": {"v1": 95, "v2": 5, "v0": 0}})
    assert [(target.subject, target.weight) for target in compiled["job.fax.*.*"]] == [
        ("job.fax.v1.{{partition(8,1)}}.{{wildcard(1)}}.{{wildcard(2)}}", 95),
        ("job.fax.v2.{{partition(8,1)}}.{{wildcard(1)}}.{{wildcard(2)}}", 5),
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


clusters = st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,5}", fullmatch=True), weights(), max_size=4)


@given(weights(), clusters)
def test_each_cluster_has_weights_of_its_own_and_all_others_the_ones_without(everywhere, regional) -> None:
    wanted = {**everywhere, **{f"{v}@{c}": w for c, versions in regional.items() for v, w in versions.items()}}
    compiled = routes.compile({"fax": wanted})
    for targets in compiled.values():
        assert len({target.subject for target in targets}) == len(targets), "the server refuses the same one twice"
        for cluster in {"", *regional}:
            assert sum(target.weight for target in targets if target.cluster == cluster) == 100
    read = routes.decompile(compiled)["fax"]
    assert read == {name: weight for name, weight in wanted.items() if weight}
    nonzero = {v: w for v, w in everywhere.items() if w}
    assert routes.here(read, "elsewhere.") == nonzero
    for cluster, versions in regional.items():
        assert routes.here(read, cluster) == {v: w for v, w in versions.items() if w}


def test_a_version_that_has_traffic_in_one_cluster_has_traffic() -> None:
    assert routes.anywhere({"fax": {"v1": 100, "v1@eu": 75, "v2@eu": 25}}) == {"fax": {"v1": 100, "v2": 25}}
    assert routes.anywhere({"fax": {}}) == {"fax": {}}


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"v1": 100, "v2@eu": 5}, "the weights of fax in cluster eu total 5, not 100"),
        ({"v1@eu": 95, "v2@eu": 5}, "the weights of fax total 0, not 100"),
        ({"v1": 100, "v2@": 100}, "'' is not a valid cluster"),
        ({"v1": 100, "v2@e.u": 100}, "'e.u' is not a valid cluster"),
        ({"v1": 100, **{f"v1@c{n}": 100 for n in range(9)}}, "9 clusters, 8 are possible"),
    ],
)
def test_weights_of_clusters_that_would_lose_traffic_are_refused(wanted, why) -> None:
    with pytest.raises(BadRoutes) as caught:
        routes.compile({"fax": wanted})
    assert why in str(caught.value)


def account(mappings, **roles: Permission) -> Account:
    scopes = [
        Scope.of("A", role, TEMPLATES[role].model_copy(update={"pub": roles[role]} if role in roles else {}))
        for role in ROLES
        if role not in OUTSIDE or role in roles
    ]
    return Account(mappings=mappings, signing_keys=scopes)


FAX = routes.compile({"fax": {"v1": 95, "v2": 5, "v1@eu": 100}, "faxes": {"v1": 100}})


def test_what_we_compile_is_proven() -> None:
    routes.prove(account(FAX))
    identities = Identities.create()
    for token in (identities.account_jwt(TrafficPolicy(FAX)), identities.clients_jwt(TrafficPolicy(FAX))):
        routes.prove(decode(token, Account).nats)


@pytest.mark.parametrize("other", ["rpc.fax.acme.*", "rpc.*.*.*", "rpc.fax.>", ">", "*.fax.acme.send"])
def test_mappings_that_match_the_same_subject_are_refused_since_their_order_is_random(other) -> None:
    for both in (
        {**FAX, other: [WeightedMapping(subject="x", weight=100)]},
        {other: [WeightedMapping(subject="x", weight=100)], **FAX},
    ):
        with pytest.raises(BadRoutes, match="in no defined order"):
            routes.prove(account(both))


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ([("a", 100), ("b", 0)], "total 200, not 100"),  # a zero means 100
        ([("a", 50), ("b", 40)], "total 90, not 100"),  # the rest stays on the source subject: nobody answers
        ([("a", 50), ("a", 50)], "the same destination twice"),
    ],
)
def test_mappings_that_the_server_reads_differently_are_refused(targets, why) -> None:
    made = [WeightedMapping(subject=f"rpc.fax.{v}.$1.$2", weight=weight) for v, weight in targets]
    with pytest.raises(BadRoutes, match=why):
        routes.prove(account({"rpc.fax.*.*": made}))


@pytest.mark.parametrize("role", ["client", "worker"])
def test_a_mapping_to_where_a_role_may_not_publish_is_refused(role) -> None:
    plain = Permission(allow=["rpc.*.{{tag(tenant)}}.*", "job.*.{{tag(tenant)}}.*"])
    with pytest.raises(BadRoutes, match=f"the role {role} may not publish on rpc.fax.v1.sample.sample"):
        routes.prove(account(FAX, **{role: plain}))
    forbidden = Permission(deny=["job.*.*.*.*.*"])
    with pytest.raises(BadRoutes, match=f"the role {role} may not publish on job.fax.v1.0.sample.sample"):
        routes.prove(account(FAX, **{role: forbidden}))
