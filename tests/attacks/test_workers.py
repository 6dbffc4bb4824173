"""A worker's credential: what its owner does with JetStream's help to another service, and to control."""

from __future__ import annotations

from nats.aio.msg import Msg

from headway.bus.nats import jsapi
from headway.bus.worker.attempts import Attempts, AttemptsLog
from headway.bus.worker.queues import QueueDeclaration
from headway.bus.worker.worker import Worker
from headway.control.fleet import Fleet
from headway.control.heartbeats import heard
from tests.attacks.attacker import Attacker, Connecting
from tests.attacks.attempts import Attempts as Counted
from tests.attacks.place import Place, service

_GET = "$JS.API.DIRECT.GET.OBJECTS.obj.acme.call.mine"
_PULL = "$JS.API.CONSUMER.MSG.NEXT.JOBS_fax.v1-{lane}"


async def answered(place: Place, attacker: Attacker, body: bytes, reply: str) -> None:
    """Have JetStream send a body of the attacker's choice to a subject: as an answer and as a delivery."""
    await place.bus.nc.publish("obj.acme.call.mine", body)  # as any worker may
    await place.bus.flush()
    await attacker.nc.publish(_GET, b"", reply=reply)
    for lane in range(16):
        await attacker.nc.publish(f"job.fax.v1.{lane}.acme.send", body)
        await attacker.nc.publish(_PULL.format(lane=lane), b'{"batch":9,"expires":200000000}', reply=f"{reply}")
    await attacker.nc.publish("obj.acme.call.mine", body, reply=reply)
    await attacker.settled()
    await place.bus.flush()


async def test_a_worker_does_not_speak_for_a_worker_of_another_service(
    place: Place, attack_as: Connecting, attempts: Counted
) -> None:
    fleet = Fleet()
    async with (
        await place.broker.connect("worker", service="voicemail") as bus,
        heard(place.bus, fleet.hear) as refused,
        attack_as("worker", service="fax") as attacker,
        Worker(service("voicemail", []), bus, name="w1") as victim,
    ):
        for state in ("draining", "stopped", "starting"):
            forged = victim.beat().model_copy(update={"state": state, "healthy": False})
            before = refused.total()
            await answered(place, attacker, forged.model_dump_json().encode(), "beat.voicemail.v1.w1")
            known = fleet.of("w1")
            told = known is not None and known.last.state == "serving" and refused.total() > before
            attempts.judge(f"{state} through JetStream", refused=told)
            for subject in ("beat.fax.v1.w1", "beat.fax.v1.w2"):
                await attacker.nc.publish(subject, forged.model_dump_json().encode(), reply=attacker.nc.new_inbox())
            own = forged.model_copy(update={"service": "fax"})
            await attacker.nc.publish("beat.fax.v1.w1", own.model_dump_json().encode(), reply=attacker.nc.new_inbox())
            await attacker.settled()
            await place.bus.flush()
            known = fleet.of("w1")
            refused_too = known is not None and known.last.state == "serving" and known.last.service == "voicemail"
            attempts.judge(f"{state} under its own service", refused=refused_too)


async def test_a_worker_does_not_touch_another_services_records_of_attempts(
    place: Place, attack_as: Connecting, attempts: Counted
) -> None:
    kept = Attempts(failures=1, crashes=1)
    async with (
        await place.broker.connect("worker", service="voicemail") as bus,
        attack_as("worker", service="fax") as attacker,
    ):
        log = AttemptsLog(bus.js, "voicemail", bus.seal)
        await log.save("JOBS_voicemail", 7, kept)
        mine = place.broker.identities.seal("fax")
        for seal in ("", "*.", ">.", "unsealed.", f"{mine}.", f"{'0' * 32}."):
            reply = f"$KV.ATTEMPTS.voicemail.{seal}JOBS_voicemail.7"
            await answered(place, attacker, b'{"failures":99}', reply)
            attempts.judge(reply, refused=await log.load("JOBS_voicemail", 7) == kept)
        for headers in ({"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}):
            await attacker.nc.publish(f"$KV.ATTEMPTS.fax.{mine}.JOBS_fax.1", b"{}", headers=headers)
            await attacker.settled()
            await place.bus.flush()
            attempts.judge(str(headers), refused=await log.load("JOBS_voicemail", 7) == kept)


async def test_a_worker_has_no_queue_made_or_changed_for_another_service(
    place: Place, attack_as: Connecting, attempts: Counted
) -> None:
    settings = await place.settings()
    needs = QueueDeclaration(jobs=True, queue_bytes=1, queue_per_subject=1, events=("voicemail.asked",), ack_wait=1)
    async with attack_as("worker", service="fax") as attacker:
        for subject in ("queues.voicemail.v1", "queues.voicemail.v9"):
            await answered(place, attacker, needs.model_dump_json().encode(), subject)
            attempts.judge(subject, refused=await place.settings() == settings)
        reply = await attacker.nc.request("queues.fax.v9", needs.model_dump_json().encode(), timeout=30)
        assert reply.headers is None or "Nats-Service-Error" not in reply.headers, "its own it may have"


async def test_a_worker_makes_no_consumer_whatever_it_calls_it(
    place: Place, attack_as: Connecting, attempts: Counted
) -> None:
    told: list[Msg] = []

    async def take(message: Msg) -> None:
        told.append(message)

    await place.bus.nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED.>", cb=take)
    await place.bus.flush()
    async with attack_as("worker", service="fax") as attacker:
        for stream in ("JOBS_fax", "JOBS_voicemail", "EVENTS", "OBJECTS", "DEAD", "OBJ_BLOBS", "KV_ATTEMPTS"):
            for name in ("CREATE.{}", "CREATE.{}.mine", "CREATE.{}.mine.obj.>", "DURABLE.CREATE.{}.mine"):
                subject = f"$JS.API.CONSUMER.{name.format(stream)}"
                attempts.judge(subject, refused=not await attacker.may_publish(subject))
    await place.bus.flush()
    assert told == []
    assert not [one for one in (await jsapi.listed(place.bus.nc, "CONSUMER.LIST.OBJECTS", "consumers"))[0] if one]
