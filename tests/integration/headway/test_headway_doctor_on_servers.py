"""The doctor on real servers: healthy ones, a dead one, stranded work, and what it can see without keys."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from headway.broker import testing
from headway.broker.broker import Broker
from headway.bus import Service
from headway.bus.nats import streams
from headway.bus.worker import queues
from headway.doctor.collect import collect
from headway.doctor.diagnose import diagnose
from headway.endpoint import ServerAccess


@pytest.fixture
async def site(tmp_path) -> AsyncIterator[testing.TestBus]:
    """A server whose keys are in its data directory."""
    async with (
        Broker.start(tmp_path / "site", port=0, ws_port=None) as broker,
        await broker.connect("operator") as connection,
    ):
        yield testing.TestBus(broker, connection)


def service() -> Service:
    made = Service("fax", ack_wait=0.5)

    @made.job("send")
    async def send(_request: None) -> None:
        pass

    return made


async def examine(broker: Broker, directory: Path | None = None) -> dict[str, str]:
    """The codes of what is found, with what each is about."""
    assert broker.data_dir is not None
    creds = broker.data_dir / "doctor.creds"
    creds.touch(0o600)
    creds.write_text(broker.identities.creds("operator"))
    facts = await collect(ServerAccess(broker.url, str(creds)), directory or broker.data_dir)
    return {finding.code: f"{finding.subject}: {finding.what}" for finding in diagnose(facts)}


def test_a_running_installation_is_well_and_the_doctor_says_so(up, eventually):
    done = eventually(lambda: (found := up.run("doctor")).returncode == 0 and found)
    assert "1 server, 9 streams, 2 workers" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    told = json.loads(up.run("doctor", "--json").stdout)
    assert told["ok"] is True
    assert [finding["code"] for finding in told["findings"]] == ["durability"]


def test_a_secret_that_others_may_read_and_a_dead_letter_are_found_with_what_to_do(fresh, eventually):
    from tests.support.headway_process import FREE

    running = fresh("app:hello", *FREE)
    running.says("ready:")
    running.run("submit", "hello", "letter", '{"name": "Nobody"}', "--tenant", "acme")
    (running.folder / ".headway" / "creds" / "operator.creds").chmod(0o644)
    done = eventually(lambda: "dead-letters" in (found := running.run("doctor", "--json")).stdout and found)
    assert done.returncode == 1
    told = {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert told["readable"]["fix"] == "chmod 600 .headway/creds/operator.creds"
    assert "headway dead ls --service hello" in told["dead-letters"]["fix"]


def test_durability_of_headway_yaml_reaches_the_server(fresh, tmp_path):
    from tests.support.headway_process import FREE

    (tmp_path / "site").mkdir()
    text = "services:\n  hello:\n    app: app:hello\nserver:\n  durability: strict\n  replicas: 1\n"
    (tmp_path / "site" / "headway.yaml").write_text(text)
    running = fresh(*FREE)
    running.says("ready:")
    found = json.loads(running.run("doctor", "--json").stdout)["findings"]
    assert "durability" not in {finding["code"] for finding in found}


def test_no_server_is_a_finding_too(tmp_path):
    from tests.support.headway_process import headway

    done = headway(tmp_path, "doctor", "--url", "nats://127.0.0.1:1")
    assert done.returncode == 1
    assert "headway up" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


async def test_a_dead_server_of_a_cluster_is_named_with_the_copies_it_had(until):
    async with testing.cluster() as cluster:
        assert set(await until(lambda: _calm(cluster.broker))) <= {"durability"}
        await cluster.servers[2].kill()

        async def noticed() -> dict[str, str] | None:
            found = await examine(cluster.broker)
            return found if {"server-gone", "copy-behind"} <= set(found) else None

        found = await until(noticed)
        assert found["server-gone"].startswith("n2: ")
        assert "n2" in found["copy-behind"]
        await cluster.servers[2].start()
        await until(lambda: _calm(cluster.broker))


async def _calm(broker: Broker) -> dict[str, str] | None:
    """What is found, once there is nothing but notes."""
    found = await examine(broker)
    return found if set(found) <= {"durability"} else None


async def test_streams_with_one_copy_in_a_cluster_are_found(until):
    async with testing.cluster(replicas=1) as cluster:

        async def found() -> bool:
            return "one-copy" in await examine(cluster.broker)

        async def mended() -> bool:
            return "one-copy" not in await examine(cluster.broker)

        await until(found)
        async with await cluster.broker.connect("control") as bus:
            await queues.declare(bus.js, service(), "v1")
            await streams.provision(bus.js, 3)
        await until(mended)


async def test_work_that_nobody_takes_is_found(site, until):
    broker = site.broker
    await broker.set_routes({"fax": {"v1": 100}})
    await queues.declare(site.bus.js, service(), "v1")
    for number in range(5):
        await site.submit("fax", "send", None, tenant=f"tenant-{number}")
    found = await examine(broker)
    assert found["stranded"].startswith("fax v1: 5 jobs are queued")
    assert "100%" in found["route-to-nobody"]

    info = next(one for one in await site.bus.js.consumers_info("JOBS_fax") if one.num_pending)
    puller = await site.bus.js.pull_subscribe_bind(info.name, stream="JOBS_fax")
    await puller.fetch(1, timeout=10)
    await puller.unsubscribe()
    await until(lambda: _held(broker))

    await site.bus.js.delete_consumer("JOBS_fax", info.name)
    for consumer in await site.bus.js.consumers_info("JOBS_fax"):
        await site.bus.js.delete_consumer("JOBS_fax", consumer.name)
    found = await examine(broker)
    assert found["no-consumer"].startswith("fax v1: 5 jobs belong to a version that has no consumer")


async def _held(broker: Broker) -> bool:
    return "being processed by a worker that is gone" in (await examine(broker)).get("stranded", "")


async def test_a_worker_puts_it_right(site, until):
    served = service()
    await site.broker.set_routes({"fax": {"v1": 100}})
    await queues.declare(site.bus.js, served, "v1")
    await site.submit("fax", "send", None)
    async with site.serving(served):

        async def right() -> bool:
            return not {"stranded", "route-to-nobody", "no-route"} & set(await examine(site.broker))

        await until(right)


async def test_without_the_keys_it_tells_what_it_did_not_check(site, tmp_path):
    assert "not-checked" in await examine(site.broker, tmp_path)


async def test_credentials_that_are_ending_are_found(tmp_path):
    async with Broker.start(tmp_path, port=0, ws_port=None) as broker:
        broker.identities.creds_file("client", tenant="acme", expires=timedelta(hours=2))
        broker.identities.creds_file("client", tenant="gone", expires=timedelta(seconds=-5))
        found = await examine(broker)
    assert "client.acme.creds" in found["credentials-expire"]
    assert "client.gone.creds" in found["credentials-expired"]


async def test_a_role_that_may_not_look_is_told_so_and_nothing_fails(bus, tmp_path):
    creds = tmp_path / "client.creds"
    creds.write_text(bus.broker.identities.creds("client", tenant="acme"))
    facts = await collect(ServerAccess(bus.url, str(creds)), tmp_path / "nowhere")
    assert {"streams", "control records"} <= set(facts.blind)
    assert {finding.severity for finding in diagnose(facts) if finding.code == "not-checked"} == {"note"}
