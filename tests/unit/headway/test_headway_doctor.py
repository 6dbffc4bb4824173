"""What the doctor makes of what it sees: pure, so every ailment can be shown."""

from __future__ import annotations

import stat
import time
from dataclasses import replace

import pytest

from headway.broker.identity import Identities
from headway.bus.nats import streams as declared
from headway.bus.wire.beat import Beat
from headway.commands.doctor import render
from headway.control.records import RolloutRecord, Scale, ScaleRecord, ServiceRecord, VersionRecord
from headway.doctor import local, servers_seen
from headway.doctor.diagnose import diagnose, well
from headway.doctor.facts import Consumer, CredentialFacts, Disk, Facts, Peer, Secret, ServerFacts, StreamFacts

NOW = 1_790_000_000.0
GIB = 1 << 30


def beat(**changed: object) -> Beat:
    base = {
        "service": "fax",
        "version": "v1",
        "worker": "w1",
        "host": "h",
        "pid": 1,
        "started": 0,
        "at": NOW,
        "state": "serving",
        "rpc_inflight": 0,
        "in_hand": 0,
        "oldest_s": 0,
        "processed": 0,
        "failed": 0,
        "rejected": 0,
        "retried": 0,
        "dead": 0,
        "shed": 0,
        "latency": {},
        "cpu_s": 0,
        "rss_bytes": 1,
        "loop_lag_s": 0,
        "healthy": True,
        "slots": 10,
    }
    return Beat.model_validate({**base, **changed})


SHARED = tuple(StreamFacts(str(config.name)) for config in declared.shared())
JOBS = StreamFacts("JOBS_fax", consumers=(Consumer("v1-0"), Consumer("v1-1")))
RECORDS = {
    "services": {"fax": ServiceRecord(service="fax", calls=True)},
    "versions": {
        ("fax", "v1"): VersionRecord(service="fax", version="v1", app="headway.services.fax:fax", root="here")
    },
}
WELL = Facts(
    at=NOW,
    url="nats://here:4222",
    servers=(ServerFacts("n0", (2, 15, 1), strict=True),),
    streams=(*SHARED, JOBS),
    beats=(beat(),),
    leases=frozenset({"scaler-here"}),
    routes={"fax": {"v1": 100}},
    **RECORDS,  # type: ignore[arg-type]
)


def trio(**changed: object) -> tuple[ServerFacts, ...]:
    """A cluster of three, as its leader n0 and the others tell of it."""
    peers = (Peer("n1", current=True), Peer("n2", current=True))
    made = [ServerFacts(f"n{n}", (2, 15, 1), strict=True, cluster_size=3, leader="n0", peers=peers) for n in range(3)]
    made[0] = replace(made[0], **changed)  # type: ignore[arg-type]
    return tuple(made)


def with_jobs(*consumers: Consumer, **changed: object) -> Facts:
    jobs = replace(JOBS, consumers=consumers)
    return replace(WELL, streams=(*SHARED, jobs), **changed)  # type: ignore[arg-type]


def copies(stream: StreamFacts) -> Facts:
    others = tuple(replace(one, replicas=3) for one in SHARED if one.name != stream.name)
    return replace(WELL, servers=trio(), streams=(*others, stream))


def test_a_healthy_installation_has_no_finding():
    assert diagnose(WELL) == []
    assert well(diagnose(WELL))


CASES = {
    "unreachable": replace(WELL, unreachable="no connection"),
    "heartbeat-refused": replace(WELL, refused={"fax": 3}),
    "server-old": replace(WELL, servers=(ServerFacts("n0", (2, 10, 22), strict=True),)),
    "server-versions": replace(WELL, servers=(ServerFacts("a", (2, 15, 1), strict=True), ServerFacts("b", (2, 14, 0)))),
    "clock-skew": replace(WELL, servers=(ServerFacts("n0", (2, 15, 1), skew=-2.0, strict=True),)),
    "no-jetstream": replace(WELL, servers=(ServerFacts("n0", (2, 15, 1), jetstream=False, strict=True),)),
    "no-leader": replace(WELL, servers=trio(leader="")),
    "server-gone": replace(WELL, servers=trio(peers=(Peer("n2", current=False, offline=True),))),
    "stream-silent": replace(WELL, silent=("JOBS_voicemail",)),
    "stream-missing": replace(WELL, streams=(*SHARED[1:], JOBS)),
    "one-copy": replace(WELL, servers=trio()),
    "stream-no-leader": copies(StreamFacts("EVENTS", replicas=3, clustered=True)),
    "copy-behind": copies(
        StreamFacts("EVENTS", replicas=3, clustered=True, leader="n0", peers=(Peer("n1", current=False, lag=900),))
    ),
    "copies-differ": copies(StreamFacts("JOBS_fax", replicas=1, clustered=True, leader="n0")),
    "stream-full": replace(WELL, streams=(*SHARED, replace(JOBS, size=9 * GIB, bound=10 * GIB))),
    "store-full": replace(WELL, servers=(ServerFacts("n0", (2, 15, 1), strict=True, stored=9 * GIB, room=10 * GIB),)),
    "not-stored": replace(WELL, not_stored="$KV.CONTROL.probe: not acknowledged"),
    "store-slow": replace(WELL, stored=4.0),
    "lease-stale": replace(WELL, lease_ages={"scaler-here": 30.0}),
    "record-unreadable": replace(WELL, unreadable={"version.fax.v1": "EOF"}),
    "no-record": replace(WELL, versions={}, scales={}),
    "keys-unusable": replace(WELL, keys=("keys.json is gone", "copy it from a backup")),
    "ack-pending": with_jobs(Consumer("v1-0", ack_pending=900, limit=1000, pulls=1)),
    "orphaned-consumer": replace(
        WELL,
        services={"fax": ServiceRecord(service="fax", calls=True, orphans=("order.gone",))},
        streams=(*SHARED[1:], JOBS, replace(SHARED[0], consumers=(Consumer("fax_order_gone", pending=4),))),
    ),
    "disk-full": replace(WELL, disks=(Disk("store", free=GIB, total=100 * GIB),)),
    "stranded": with_jobs(Consumer("v1-0", pending=3), beats=(), leases=frozenset(), services={}, routes=None),
    "past-ack-wait": with_jobs(Consumer("v1-0", ack_pending=2, ack_wait=30, idle=90)),
    "no-consumer": replace(WELL, streams=(*SHARED, replace(JOBS, uncovered={"v0": 7}))),
    "stranded-events": replace(
        WELL, streams=(*SHARED[1:], JOBS, replace(SHARED[0], consumers=(Consumer("crm_call_ended", pending=4),)))
    ),
    "consumer-no-leader": with_jobs(Consumer("v1-0", led=False)),
    "paused": with_jobs(Consumer("v1-0", pending=1, paused=True)),
    "standing-still": with_jobs(Consumer("v1-0", pending=5, idle=300, pulls=1)),
    "route-to-nobody": replace(WELL, beats=()),
    "no-route": replace(WELL, routes={}),
    "crash-loop": replace(
        WELL,
        scales={
            ("fax", "v1"): ScaleRecord(
                service="fax", version="v1", health="crash-loop", deaths=6, last_exit="exit code 7", stderr=("no line",)
            )
        },
    ),
    "worker-ill": replace(WELL, beats=(beat(healthy=False, hung=2),)),
    "unstored": replace(WELL, beats=(beat(unstored=4), beat(worker="w2"))),
    "no-scaler": replace(WELL, leases=frozenset({"deployer"})),
    "no-deployer": replace(WELL, rollouts={"fax": RolloutRecord(service="fax", version="v2", before="v1")}),
    "dead-letters": replace(WELL, dead={"fax": 3}),
    "readable": replace(WELL, secrets=(Secret("keys.json", stat.S_IFREG | 0o644),)),
    "credentials-expired": replace(WELL, credentials=(CredentialFacts("a.creds", expires=NOW - 1),)),
    "credentials-expire": replace(WELL, credentials=(CredentialFacts("a.creds", expires=NOW + 3600),)),
    "credentials-foreign": replace(WELL, credentials=(CredentialFacts("a.creds", foreign=True),)),
    "credentials-unreadable": replace(WELL, credentials=(CredentialFacts("a.creds", problem="holds no token"),)),
}


@pytest.mark.parametrize("code", CASES)
def test_each_ailment_is_found_by_its_code_and_has_a_remedy(code):
    findings = diagnose(CASES[code])
    assert code in {finding.code for finding in findings}
    assert not well(findings)
    assert all(finding.fix for finding in findings if finding.severity != "note")
    assert all(len(line) <= 80 for line in render(CASES[code], findings).splitlines())


@pytest.mark.parametrize(
    "facts",
    [
        replace(WELL, blind={"servers and routes": "no keys here"}, servers=(), routes=None),
        replace(WELL, servers=(ServerFacts("n0", (2, 15, 1)),)),
        replace(
            WELL,
            streams=(*SHARED, replace(JOBS, bound=20 * GIB)),
            servers=(ServerFacts("n0", (2, 15, 1), strict=True, room=10 * GIB),),
        ),
        replace(
            WELL,
            leases=WELL.leases | {"deployer"},
            rollouts={"fax": RolloutRecord(service="fax", version="v2", before="v1", paused=True)},
        ),
    ],
)
def test_what_could_not_be_checked_and_what_is_good_to_know_is_said_but_is_no_failure(facts):
    findings = diagnose(facts)
    assert [finding.severity for finding in findings] == ["note"]
    assert well(findings)


@pytest.mark.parametrize(
    "facts",
    [
        with_jobs(Consumer("v1-0", pending=3), beats=(), routes={"fax": {}}),
        with_jobs(Consumer("v1-0", ack_pending=2, ack_wait=30, idle=90, pulls=1)),
        with_jobs(Consumer("v1-0", ack_pending=2, ack_wait=30, idle=20)),
        with_jobs(Consumer("v1-0", pending=5, idle=300), beats=(beat(in_hand=10),)),
        with_jobs(Consumer("v1-0", pending=5, idle=10)),
        replace(WELL, secrets=(Secret("keys.json", stat.S_IFREG | 0o600), Secret("nats/", stat.S_IFDIR | 0o700))),
        replace(WELL, credentials=(CredentialFacts("a.creds", expires=NOW + 30 * 86_400), CredentialFacts("b.creds"))),
        replace(
            WELL,
            beats=(),
            services={"fax": ServiceRecord(service="fax", scale=Scale(min=0))},
            routes={"fax": {"v1": 100}},
        ),
    ],
    ids=[
        "the scaler is about to start a worker",
        "a worker asks for what was not acknowledged",
        "its wait is not over",
        "all slots are busy with long jobs",
        "it just came",
        "secret files are secret",
        "credentials last",
        "at zero workers on purpose",
    ],
)
def test_what_is_in_order_is_not_reported(facts):
    assert diagnose(facts) == []


def test_what_workers_could_not_store_is_summed_by_version_and_names_the_workers():
    beats = (beat(unstored=1_200), beat(worker="w2", unstored=3), beat(worker="w3"), beat(version="v2", worker="w4"))
    stopped = beat(worker="w5", unstored=9, state="stopped")
    (finding,) = [one for one in diagnose(replace(WELL, beats=(*beats, stopped))) if one.code == "unstored"]
    assert (finding.severity, finding.subject) == ("warning", "fax v1")
    assert finding.what.startswith("1,203 times since they started, 2 of its 3 workers (w1, w2) could not store")


def test_the_worst_comes_first():
    facts = replace(WELL, servers=(ServerFacts("n0", (2, 15, 1)),), dead={"fax": 1}, unreachable="gone")
    assert [finding.severity for finding in diagnose(facts)] == ["error", "warning", "note"]


@pytest.mark.parametrize(
    ("told", "skew"),
    [("2026-01-01T00:00:05.123456789Z", 0.0), ("2026-01-01T00:00:10Z", 3.0), ("2026-01-01T00:00:00Z", -4.0)],
)
def test_a_clock_is_wrong_only_by_what_the_requests_duration_does_not_explain(told, skew):
    asked = 1_767_225_604.0  # 2026-01-01T00:00:04Z
    assert servers_seen._skew(told, asked, asked + 3.0) == pytest.approx(skew)


def test_files_of_a_data_directory_are_seen_with_their_modes_and_ends(tmp_path):
    from datetime import timedelta

    identities = Identities.create_or_load(tmp_path)
    lasting = identities.creds_file("operator")
    ending = identities.creds_file("client", tenant="acme", expires=timedelta(hours=1))
    (tmp_path / "creds" / "broken.creds").write_text("nothing")
    (tmp_path / "nats").mkdir()
    secrets, credentials, disks = local.look(tmp_path, str(lasting))
    assert {secret.path.rpartition("/")[2] or "nats" for secret in secrets} == {
        "keys.json",
        "nats",
        "operator.creds",
        "client.acme.creds",
        "broken.creds",
    }
    found = {one.path.rpartition("/")[2]: one for one in credentials}
    assert found[lasting.name].used
    assert found[lasting.name].expires is None
    assert found[ending.name].expires == pytest.approx(time.time() + 3600, abs=60)
    assert found["broken.creds"].problem == "holds no token"
    assert disks[0].total > disks[0].free > 0


def test_credentials_elsewhere_and_a_directory_that_does_not_exist_are_looked_at_too(tmp_path):
    secrets, credentials, disks = local.look(tmp_path / "nowhere", str(tmp_path / "gone.creds"))
    assert (secrets, disks) == ((), ())
    assert credentials[0].used
    assert "cannot be read" in credentials[0].problem
