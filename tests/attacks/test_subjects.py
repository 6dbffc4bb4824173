"""Subjects that a credential must not reach: other tenants and services, stores, the JetStream API, the system."""

from __future__ import annotations

from typing import Any

import pytest

from headway.broker.broker import Broker
from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts

BOUND: dict[str, dict[str, str]] = {
    "worker": {"service": "fax"},
    "client": {"tenant": "acme"},
    "browser": {"tenant": "acme"},
    "web": {},
    "console": {},
}
STREAMS = (
    *("JOBS_fax", "JOBS_voicemail", "EVENTS", "OBJECTS", "LATER", "DEAD", "KV_ATTEMPTS", "KV_CONTROL", "OBJ_BLOBS"),
    *("*", ">"),
)
_OF_STREAMS = (
    *("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.INFO", "STREAM.MSG.GET"),
    *("STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.LEADER.STEPDOWN", "STREAM.PEER.REMOVE"),
    *("CONSUMER.CREATE", "CONSUMER.LIST", "CONSUMER.NAMES", "DIRECT.GET"),
)
_OF_CONSUMERS = ("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT")
API = (
    *("$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.SERVER.REMOVE", "$JS.API.META.LEADER"),
    *(f"$JS.API.{verb}.{stream}" for stream in STREAMS for verb in _OF_STREAMS),
    *(f"$JS.API.{verb}.{stream}.one" for stream in STREAMS for verb in _OF_CONSUMERS),
    *(f"$JS.ACK.{stream}.one.1.1.1.1.0" for stream in STREAMS),
)
SYSTEM = (
    *("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.SERVER.PING"),
    *("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.ACCOUNT.X.CONNECT", "$SYS.DEBUG.SUBSCRIBERS"),
)
STORED = (
    *("obj.globex.call.kept", "obj.headway.service.fax", "live.globex.call.kept", "live.headway.head"),
    *("dead.voicemail.acme.send", "beat.voicemail.v1.w1", "$KV.ATTEMPTS.voicemail.JOBS_voicemail.1"),
    *("$KV.ATTEMPTS.voicemail.0000.JOBS_voicemail.1", "$JS.API.DIRECT.GET.KV_ATTEMPTS.$KV.ATTEMPTS.voicemail.>"),
    *("$JS.API.DIRECT.GET.KV_ATTEMPTS.>", "$JS.API.DIRECT.GET.KV_ATTEMPTS"),
    *("$JS.API.STREAM.INFO.KV_ATTEMPTS", "$JS.API.STREAM.MSG.GET.KV_ATTEMPTS"),
    *("$KV.CONTROL.code.x", "$KV.CONTROL.version.fax.v1", "$KV.CONTROL.lease.scaler", "$KV.OTHER.x"),
)
OF_GLOBEX = (
    *("rpc.fax.globex.say", "rpc.fax.v1.globex.say", "job.fax.globex.send", "job.fax.v1.0.globex.send"),
    *("later.fax.globex.send", "later.*.*.*", "later.>"),
    *("event.globex.fax.asked", "sync.globex.pull", "sync.globex.submit.fax.send", "sync.headway.pull"),
    *("rpc.fax.*.say", "rpc.>", "job.*.*.*", "event.*.fax.asked", "event.>", "_INBOX.SOMEBODY.1"),
)
SERVICES = ("$SRV.PING", "$SRV.INFO.fax", "$SRV.STATS", "anything", ">", "*")
MAY_NOT_PUBLISH: dict[str, tuple[str, ...]] = {
    "client": (*API, *SYSTEM, *STORED, *OF_GLOBEX, *SERVICES, "job.fax.v1.0.acme.send", "obj.acme.call.kept"),
    "browser": (*API, *SYSTEM, *STORED, *OF_GLOBEX, *SERVICES, "job.fax.acme.send", "event.acme.fax.asked"),
    "console": (
        *(*API, *SYSTEM, *STORED, *SERVICES, "sync.headway.submit.fax.send"),
        *(subject for subject in OF_GLOBEX if subject != "sync.headway.pull"),
    ),
    "worker": (
        *SYSTEM,
        *(subject for subject in STORED if subject != "obj.globex.call.kept"),  # workers serve all tenants
        *("$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.INFO", "$JS.API.CONSUMER.LIST.JOBS_fax"),
        *("sync.globex.pull", "sync.acme.submit.fax.send", "live.acme.call.kept", ">", "*", "anything"),
        *(
            f"$JS.API.{verb}.{stream}"
            for verb in ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE")
            for stream in STREAMS
        ),
        *(
            f"$JS.API.{verb}.{stream}"
            for verb in ("STREAM.MSG.DELETE", "CONSUMER.LIST", "CONSUMER.NAMES", "CONSUMER.CREATE")
            for stream in STREAMS
        ),
        *(
            f"$JS.API.{verb}.{stream}.one"
            for verb in ("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.PAUSE")
            for stream in STREAMS
        ),
        *("queues.voicemail.v1", "queues.*.v1", "queues.>"),
        *(
            f"$JS.API.{verb}.{stream}"
            for verb in (*_OF_STREAMS, "CONSUMER.MSG.NEXT")
            for stream in ("JOBS_voicemail", "DEAD", "KV_CONTROL")
        ),
    ),
    "web": (
        *(*SYSTEM, *STORED[:2], *STORED[4:], "dead.fax.acme.send", "event.acme.fax.asked", "rpc.fax.acme.say"),
        *(f"$JS.API.{verb}.{stream}" for verb in _OF_STREAMS for stream in STREAMS if stream != "OBJECTS"),
        *(f"$JS.API.{verb}.{stream}.one" for verb in _OF_CONSUMERS for stream in STREAMS),
    ),
}
_EVERYBODYS = (
    *(">", "*", "*.>", "*.*.*", "_INBOX.>", "_INBOX.*", "_INBOX.SOMEBODY.>", "$SYS.>", "$JS.>", "$JS.EVENT.>"),
    *("$KV.>", "$KV.CONTROL.>", "$KV.ATTEMPTS.>", "$O.>", "dead.>", "beat.>", "job.>", "event.>", "obj.>"),
    *("rpc.>", "rpc.voicemail.v1.*.say", "sync.>", "live.>", "live.globex.>", "live.headway.>", "_R_.>", "$SRV.>"),
)
_OWN = {"console": {"live.headway.>"}, "worker": {"$SRV.>"}}
"""What a role may hear. `$SRV.>` is discovery: the server takes it for a match of the worker's `$SRV.*`."""


@pytest.mark.parametrize("role", MAY_NOT_PUBLISH)
async def test_a_role_publishes_to_nothing_that_is_not_its_own(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts, role: Any
) -> None:
    await nats_broker.set_routes({"fax": {"v1": 100}, "voicemail": {"v1": 100}})
    async with attack_as(role, **BOUND[role]) as attacker:
        for subject in dict.fromkeys(MAY_NOT_PUBLISH[role]):
            attempts.judge(subject, refused=not await attacker.may_publish(subject))


@pytest.mark.parametrize("role", BOUND)
async def test_a_role_hears_nothing_that_is_not_its_own(
    nats_broker: Broker, attack_as: Connecting, attempts: Attempts, role: Any
) -> None:
    async with attack_as(role, **BOUND[role]) as attacker:
        for subject in _EVERYBODYS:
            if subject in _OWN.get(role, ()):
                continue
            for queue in ("", "fax-v1"):
                refused = not await attacker.may_subscribe(subject, queue)
                attempts.judge(f"{subject} {queue}", refused=refused)
