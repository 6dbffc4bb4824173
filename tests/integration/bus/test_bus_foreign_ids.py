"""Message ids are of a tenant, and headers that only Headway may set are not believed from anybody else."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig

from headway.broker.identity import user_of
from headway.bus import Conflict, HeadwayError, Reject, Service
from headway.bus.client import dead
from headway.bus.client.connection import connect
from headway.bus.client.ids import MessageIds


def noting(done: list[tuple[str, object, str]]) -> Service:
    app = Service("app")

    @app.job("work")
    async def work(request: object, ctx) -> None:
        done.append((ctx.tenant, request, ctx.id))

    @app.job("refuse")
    async def refuse(request: object) -> None:
        raise Reject("no")

    @app.on("call.ended")
    async def ended(event: object, ctx) -> None:
        done.append((ctx.tenant, event, ctx.id))

    return app


def client(bus, tenant: str):
    return connect(bus.url, creds=bus.broker.identities.creds("client", tenant=tenant))


@pytest.fixture
def nats_as(tmp_path, missing):
    """Run the `nats` CLI with the credentials of a tenant's client."""
    program = shutil.which("nats", path=os.pathsep.join([os.environ["PATH"], str(Path("~/go/bin").expanduser())]))
    if program is None:
        missing("the nats CLI is not installed: go install github.com/nats-io/natscli/nats@latest")

    async def run(bus, tenant: str, *arguments: str) -> str:
        creds = bus.broker.identities.creds("client", tenant=tenant)
        file = tmp_path / f"{tenant}.creds"
        file.write_text(creds)
        inbox = f"_INBOX.{user_of(creds).sub}"
        process = await asyncio.create_subprocess_exec(
            *(program, "--server", bus.url, "--creds", file, "--inbox-prefix", inbox, *arguments),
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        return output.decode()

    return run


async def test_the_same_key_of_two_tenants_has_ids_that_neither_can_guess(bus, until):
    done: list[tuple[str, object, str]] = []
    async with bus.serving(noting(done)), await client(bus, "acme") as acme, await client(bus, "globex") as globex:
        # Globex publishes under the id of acme's next job, as it was made before, and as globex would make it.
        for guess in ("acme.work.order-1", globex.ids.keyed("acme", "work", "order-1")):
            await globex.store("job.app.globex.work", b'"mine"', {"Nats-Msg-Id": guess})
        receipt = await acme.submit("app", "work", "yours", tenant="acme", key="order-1")
        assert not receipt.duplicate
        assert (await acme.submit("app", "work", "yours", tenant="acme", key="order-1")).duplicate
        first = await acme.emit("call.ended", "yours", tenant="acme", key="e1")
        assert not first.duplicate
        await until(lambda: sum(one[0] == "acme" for one in done) == 2)


async def test_workers_and_clients_of_one_tenant_make_the_same_ids(bus):
    async with await client(bus, "acme") as acme, await client(bus, "globex") as globex:
        made = bus.bus.ids.keyed("acme", "work", "k")
        assert acme.ids.keyed("acme", "work", "k") == made
        assert globex.ids.keyed("acme", "work", "k") != made
        for role, service in (("worker", "app"), ("web", None), ("control", None)):
            ids = MessageIds.of(bus.broker.identities.creds(role, service=service))
            assert ids.keyed("acme", "work", "k") == made


async def test_the_nats_cli_reads_these_credentials_and_protects_its_ids_with_the_prefix(bus, nats_as, until):
    done: list[tuple[str, object, str]] = []
    async with bus.serving(noting(done)), await client(bus, "acme") as acme, await client(bus, "globex") as globex:
        assert acme.ids.prefix != globex.ids.prefix
        for tenant, prefix, body in (("globex", globex.ids.prefix, '"mine"'), ("acme", acme.ids.prefix, '"yours"')):
            header = f"Nats-Msg-Id:{prefix}.order-1"
            said = await nats_as(bus, tenant, "req", f"job.app.{tenant}.work", body, "-H", header)
            assert '"stream":"JOBS_app"' in said
            assert "duplicate" not in said
        await until(lambda: len(done) == 2)


async def test_plain_ids_without_the_prefix_are_shared_by_all_tenants(bus, nats_as):
    """What does not hold, as docs/reference/roles.md says: JetStream keeps ids by stream."""
    done: list[tuple[str, object, str]] = []
    async with bus.serving(noting(done)):
        for tenant, duplicate in (("globex", False), ("acme", True)):
            said = await nats_as(bus, tenant, "req", f"job.app.{tenant}.work", "1", "-H", "Nats-Msg-Id:order-1")
            assert ('"duplicate":' in said) == duplicate


async def test_a_replay_under_a_guessed_id_is_stored_and_its_letter_is_not_lost(bus, letters, until):
    done: list[tuple[str, object, str]] = []
    async with bus.serving(noting(done)), await client(bus, "globex") as globex:
        await bus.submit("app", "refuse", "x", tenant="acme")
        [letter] = await letters(1)
        for guess in (f"replay.{letter.seq}", globex.ids.own(f"replay.{letter.seq}")):
            await globex.store("job.app.globex.work", b"1", {"Nats-Msg-Id": guess})
        await dead.replay(bus.bus, letter)
        [again] = [one for one in await letters(1) if one.seq != letter.seq] or await until(
            lambda: _others(bus, letter.seq)
        )
        assert (again.tenant, again.payload) == ("acme", b'"x"')


async def _others(bus, seq: int) -> list[dead.DeadLetter]:
    return [one async for one in dead.list_(bus.bus.js) if one.seq != seq]


async def test_a_client_cannot_pass_for_a_moved_job_or_hide_an_event_from_a_service(bus, until):
    done: list[tuple[str, object, str]] = []
    async with bus.serving(noting(done)), await client(bus, "globex") as globex:
        forged = {
            "Headway-Id": "acme.work.order-1",
            "Headway-Proof": globex.ids.prove("globex", "acme.work.order-1", ""),
        }
        await globex.store("job.app.globex.work", b"1", {"Nats-Msg-Id": "mine", **forged})
        await globex.store("event.globex.call.ended", b"2", {"Nats-Msg-Id": "e", "Headway-Only": "billing"})
        await until(lambda: len(done) == 2)
    assert sorted(done) == [("globex", 1, "mine"), ("globex", 2, "e")]


async def test_forged_headers_of_a_dead_letter_delete_no_blob(bus, letters, until):
    await bus.tenant("globex").blobs.put("contract", b"signed")
    await bus.tenant("globex").blobs.put("dead/app/7", b"of another letter")
    names = {"Headway-Dead-Blob": "contract", "Headway-Dead-Headers-Blob": "dead/app/7", "Headway-Dead-Cause": "x"}
    async with bus.serving(noting([])), await client(bus, "globex") as globex:
        await globex.store(
            "job.app.globex.refuse", b"1", {"Nats-Msg-Id": "1", **names, "headway-dead-blob": "contract"}
        )
        [letter] = await letters(1)
        assert (letter.blob, letter.headers_blob, letter.cause, dict(letter.headers)) == ("", "", "rejected", {})
        await bus.bus.store("dead.app.globex.forged", b"", {**names, "Headway-Dead-Sequence": "7"})
        for one in await letters(2):
            await dead.discard(bus.bus, one)
    assert await bus.tenant("globex").blobs.get("contract") == b"signed"
    assert await bus.tenant("globex").blobs.get("dead/app/7") == b"of another letter"


async def test_headers_of_nats_from_a_client_are_not_sent_again_by_a_worker(bus, letters):
    asked = {"Nats-Trace-Dest": "obj.acme.x.y", "nats-rollup": "all", "Headway-Only": "x", "X-Own": "kept"}
    async with bus.serving(noting([])):
        await bus.bus.store("job.app.globex.refuse", b"1", {"Nats-Msg-Id": "1", **asked})
        [letter] = await letters(1)
    assert dict(letter.headers) == {"X-Own": "kept"}


@pytest.mark.parametrize(
    "name", ["Nats-Rollup", "Nats-TTL", "Nats-Schedule", "Nats-Incr", "Nats-Batch-Id", "Nats-Schedule-Target"]
)
async def test_headers_that_make_the_server_do_more_than_store_are_refused(bus, name):
    async with bus.serving(noting([])), await client(bus, "globex") as globex:
        for value in ("all", "1", "@at 2030-01-01T00:00:00Z"):
            try:
                await globex.store("job.app.globex.work", b"1", {"Nats-Msg-Id": name, name: value}, timeout=0.5)
            except HeadwayError:
                continue
        info = await bus.bus.js.stream_info("JOBS_app", subjects_filter=">")
        assert info.state.last_seq <= 1  # at most stored once, as any job


async def test_an_expectation_tells_a_client_whether_a_subject_of_another_tenant_has_messages(bus):
    """What does not hold, as docs/reference/roles.md says: the server has no condition on headers."""
    await bus.bus.js.add_consumer("EVENTS", ConsumerConfig(durable_name="behind", filter_subject="event.>"))
    asked = {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": "event.acme.call.ended",
    }
    async with await client(bus, "globex") as globex:
        await globex.store("event.globex.call.ended", b"1", {"Nats-Msg-Id": "1", **asked})
        await bus.emit("call.ended", "secret", tenant="acme")
        with pytest.raises(Conflict) as caught:
            await globex.store("event.globex.call.ended", b"1", {"Nats-Msg-Id": "2", **asked})
    assert "secret" not in str(caught.value)
