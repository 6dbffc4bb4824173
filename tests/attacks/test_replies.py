"""Reply subjects: JetStream answers to whatever subject the asker names, with JetStream's own rights.

What it answers can be chosen by the asker, too: a direct get returns the body of an object that the asker has written.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.attacker import Connecting
from tests.attacks.attempts import Attempts
from tests.attacks.place import Place, heard

STORES = (
    *("$KV.CONTROL.code.{n}", "$KV.CONTROL.version.fax.{n}", "$KV.CONTROL.lease.{n}", "obj.headway.service.{n}"),
    *("dead.voicemail.globex.{n}", "$KV.ATTEMPTS.voicemail.JOBS_voicemail.{n}"),
)
"""Subjects whose messages control, or another service, believes."""
SHARED = (
    *("obj.globex.call.{n}", "$O.BLOBS.M.{n}", "$O.BLOBS.C.{n}", "event.globex.{n}", "job.voicemail.globex.{n}"),
    *("job.voicemail.v1.0.globex.{n}", "later.voicemail.globex.{n}"),
)
"""Subjects that every worker may publish to, and no client."""
HEARD = (
    *("beat.voicemail.v1.{n}", "live.globex.call.{n}", "live.headway.service.{n}", "sync.globex.pull", "$SRV.PING"),
    *("rpc.voicemail.globex.{n}", "rpc.voicemail.v1.globex.{n}", "_INBOX.SOMEBODY.{n}", "anything.{n}"),
)
"""Subjects that are only listened to."""
COMMANDS = (
    *("$JS.API.STREAM.PURGE.OBJECTS", "$JS.API.STREAM.DELETE.DEAD", "$JS.API.STREAM.DELETE.KV_CONTROL"),
    *("$JS.API.CONSUMER.DELETE.JOBS_voicemail.v1-0", "$JS.API.CONSUMER.CREATE.JOBS_voicemail"),
    *("$JS.ACK.JOBS_voicemail.v1-0.1.1.1.1.0", "_R_.x.y", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.SERVER.PING"),
)
"""Subjects that do something."""

CLIENT = ("job.fax.acme.send", "later.fax.acme.send", "event.acme.fax.asked", "rpc.fax.acme.say", "rpc.fax.v1.acme.say")
BROWSER = ("rpc.fax.acme.say", "rpc.fax.v1.acme.say", "sync.acme.pull", "sync.acme.submit.fax.send")
CONSOLE = ("sync.headway.pull",)


WORKER = (
    *("job.fax.acme.send", "job.fax.v1.0.acme.send", "event.acme.fax.asked", "obj.acme.call.mine"),
    *("dead.fax.acme.send", "$KV.ATTEMPTS.fax.JOBS_fax.1", "$O.BLOBS.M.mine"),
    *("$JS.API.DIRECT.GET.OBJECTS.obj.acme.call.mine", "$JS.API.STREAM.INFO.OBJECTS", "rpc.voicemail.acme.say"),
    *("$JS.API.CONSUMER.MSG.NEXT.JOBS_fax.v1-0", "$JS.API.CONSUMER.MSG.NEXT.EVENTS.fax_fax_asked"),
    *("$JS.API.CONSUMER.INFO.JOBS_fax.v1-0", "$JS.API.STREAM.INFO.JOBS_fax"),
)
WEB = (
    *("job.fax.acme.send", "job.fax.v1.0.acme.send", "$JS.API.STREAM.INFO.OBJECTS"),
    "$JS.API.DIRECT.GET.OBJECTS.obj.acme.call.kept",
)
OF_CONTROL = (
    *("$KV.CONTROL.code.{n}", "$KV.CONTROL.operator.{n}", "$KV.CONTROL.version.fax.{n}", "$KV.CONTROL.lease.{n}"),
    *("$KV.CONTROL.service.{n}", "$KV.CONTROL.rollout.{n}", "$KV.CONTROL.scale.fax.{n}", "$KV.CONTROL.copy.{n}"),
    *("obj.headway.service.{n}", "obj.headway.action.{n}", "live.headway.service.{n}", "live.headway.head"),
    *("sync.headway.pull", "$JS.API.STREAM.DELETE.KV_CONTROL", "$JS.API.STREAM.PURGE.KV_CONTROL"),
)
"""Subjects of control's account."""


@pytest.mark.parametrize(
    ("role", "bound", "asked"),
    [("worker", {"service": "fax"}, WORKER), ("web", {}, WEB), ("client", {"tenant": "acme"}, CLIENT)],
    ids=["worker", "web", "client"],
)
async def test_nothing_is_answered_into_controls_account(
    place: Place, attack_as: Connecting, attempts: Attempts, role: Any, bound: dict[str, str], asked: tuple[str, ...]
) -> None:
    await place.bus.tenant("acme").objects.put("call", "mine", {"service": "fax", "version": "v9", "app": "evil:app"})
    inside = Place(place.broker, place.bus.records, [])
    settings, count = await inside.settings(), await inside.sequences()
    found = await heard(inside.bus, [">"])
    tried: list[tuple[str, str]] = []
    async with attack_as(role, **bound) as attacker:
        for subject in asked:
            for form in OF_CONTROL:
                tried.append((subject, form.replace("{n}", f"a{len(tried)}")))
                await attacker.nc.publish(subject, b'{"batch":1,"expires":1000000000}', reply=tried[-1][1])
        await attacker.settled()
    await place.bus.flush()
    await inside.bus.flush()
    quiet = [subject for subject in found if not subject.startswith(("$JS.API.", "_INBOX.", "$JS.EVENT."))]
    stored, unchanged = (
        await inside.subjects(),
        (await inside.settings(), await inside.sequences()) == (settings, count),
    )
    for subject, reply in tried:
        refused = unchanged and reply not in stored and reply not in quiet
        attempts.judge(f"{subject} answered to {reply}", refused=refused)


@pytest.mark.parametrize(
    ("role", "bound", "asked"),
    [
        ("client", {"tenant": "acme"}, CLIENT),
        ("browser", {"tenant": "acme"}, BROWSER),
        ("console", {}, CONSOLE),
    ],
    ids=["client", "browser", "console"],
)
async def test_nothing_is_answered_where_the_asker_may_not_publish(
    place: Place, attack_as: Connecting, attempts: Attempts, role: Any, bound: dict[str, str], asked: tuple[str, ...]
) -> None:
    settings = await place.settings()
    count = 0
    tried: list[tuple[str, str]] = []
    listening = [subject.replace("{n}", "*") for subject in HEARD]
    found = await heard(place.bus, listening)
    async with attack_as(role, **bound) as attacker:
        for subject in asked:
            for form in (*STORES, *SHARED, *HEARD, *COMMANDS):
                count += 1
                reply = form.replace("{n}", f"a{count}")
                tried.append((subject, reply))
                await attacker.nc.publish(subject, b'{"evil":true}', reply=reply)
        await attacker.settled()
    await place.bus.flush()
    after, stored = await place.settings(), await place.subjects()
    for subject, reply in tried:
        through = reply in stored or reply in found or after.keys() != settings.keys()
        attempts.judge(f"{subject} answered to {reply}", refused=not through)
    assert after == settings
