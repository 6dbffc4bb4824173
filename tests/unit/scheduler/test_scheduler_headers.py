"""The headers that a due job is submitted with: JetStream must interpret none that its publisher set."""

from __future__ import annotations

from headway.bus.client.ids import MessageIds
from headway.bus.wire import headers
from headway.scheduler.later import job_headers

IDS = MessageIds(b"secret")


def test_nothing_that_jetstream_would_interpret_is_passed_on():
    stored = {
        "Nats-Rollup": "all",
        "nats-ttl": "1s",
        "Nats-Schedule": "@at 2027-01-01T00:00:00Z",
        "Nats-Schedule-Target": "obj.globex.call.x",
        "Nats-Expected-Last-Sequence": "5",
        "Nats-Msg-Id": "own",
        headers.AT: "5",
        headers.ONLY: "fax",
        "traceparent": "00-1-2-01",
        "Mine": "kept",
    }
    assert job_headers(stored, 7, "acme", IDS) == {
        "traceparent": "00-1-2-01",
        "Mine": "kept",
        headers.MESSAGE_ID: IDS.own("later.7"),
        headers.ID: "own",
        headers.PROOF: IDS.prove("acme", "own", ""),
    }


def test_an_id_that_the_publisher_claims_is_not_believed():
    stored = {headers.ID: "another", headers.PROOF: "x", headers.MESSAGE_ID: "own"}
    assert job_headers(stored, 7, "acme", IDS)[headers.ID] == "own"


def test_a_job_without_an_id_gets_one_from_its_sequence():
    assert job_headers({}, 7, "acme", IDS)[headers.ID] == "LATER.7"
