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
    *("job.voicemail.v1.0.globex.{n}",),
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

CLIENT = ("job.fax.acme.send", "event.acme.fax.asked", "rpc.fax.acme.say", "rpc.fax.v1.acme.say")
BROWSER = ("rpc.fax.acme.say", "rpc.fax.v1.acme.say", "sync.acme.pull", "sync.acme.submit.fax.send")
CONSOLE = ("sync.headway.pull",)


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
