"""The audit log: every action leaves two entries, nobody removes one, and each role does what it may."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import httpx
import nats.js.errors
import pytest

from headway.bus.errors import MissingStream, UsageError
from headway.clientsync.server import Options, serving
from headway.commands.audit.export import _export
from headway.commands.audit.ls import _ls
from headway.console.access import Access
from headway.console.web import Console
from headway.control import audit
from headway.control.audit import recorded
from headway.control.store import Control
from headway.endpoint import ServerAccess
from tests.integration.broker.test_broker_roles import connected


async def logged(bus) -> list[tuple]:
    found = [one.entry async for one in audit.entries(bus.bus)]
    return [(one.by, one.source, one.action, one.state) for one in found if one is not None]


@pytest.fixture
async def console(bus):
    """`console("viewer")`: requests of somebody in that role."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await bus.broker.connect("operator", name="console"))
        part = Console(bus.broker, connection, ws_url=bus.broker.ws_url, holder="one", period=0.1)
        options = Options(ws_url=bus.broker.ws_url, port=0, development=True)
        url = await stack.enter_async_context(serving(bus.broker, options, [part]))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))

        async def signed_in(role: str):
            code = await Access(Control(connection)).code(role, role=role)
            token = (await http.post("/console/sign-in", json={"code": code})).json()["token"]
            headers = {"Authorization": f"Bearer {token}"}

            async def ask(method: str, path: str, **body) -> httpx.Response:
                return await http.request(method, f"/console/{path}", headers=headers, json=body or None)

            return ask

        yield signed_in


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", set()), ("operator", {"replay", "pause"}), ("admin", {"replay", "pause", "discard"})],
)
async def test_each_role_of_the_console_does_what_it_may(console, role, allowed):
    ask = await console(role)
    assert (await ask("GET", "me")).json() == {"user": role, "role": role}
    assert (await ask("POST", "session")).status_code == 200  # everybody sees
    actions = {"replay": {"seqs": [1]}, "discard": {"seqs": [1]}, "pause": {"service": "fax"}}
    refused = {do for do, about in actions.items() if (await ask("POST", "act", do=do, **about)).status_code == 403}
    assert refused == actions.keys() - allowed


async def test_actions_of_the_console_are_recorded_before_they_begin_and_when_they_end(bus, console):
    ask = await console("admin")
    assert (await ask("POST", "act", do="discard", seqs=[7])).status_code == 404
    assert (await ask("DELETE", "session")).status_code == 204
    assert await logged(bus) == [
        ("admin", "console", "sign in", "begun"),
        ("admin", "console", "sign in", "done"),
        ("admin", "console", "discard", "begun"),
        ("admin", "console", "discard", "failed"),
        ("admin", "console", "sign out", "begun"),
        ("admin", "console", "sign out", "done"),
    ]


async def test_the_server_neither_deletes_nor_purges_entries(bus):
    async with recorded(bus.bus, "ada", "cli", "dead purge"):
        pass
    for attempt in (bus.bus.records.js.delete_msg("AUDIT", 1), bus.bus.records.js.purge_stream("AUDIT")):
        with pytest.raises(nats.js.errors.APIError):
            await attempt
    assert len(await logged(bus)) == 2


@pytest.mark.parametrize("role", ["worker", "client", "browser", "web"])
async def test_nothing_of_other_roles_gets_into_the_log(bus, role):
    """Neither what they publish, nor what JetStream answers to the reply subject that they name."""
    bound = {"worker": {"service": "fax"}, "client": {"tenant": "acme"}, "browser": {"tenant": "acme"}}.get(role, {})
    made = bus.broker.identities.mint(role, **bound)
    async with connected(bus.broker, made) as user:
        for subject in ("audit.cli", "job.fax.acme.send", "obj.acme.fax.1", "$JS.API.DIRECT.GET.OBJECTS"):
            await user.nc.publish(subject, b"{}", reply="audit.cli")
        await user.may_publish("audit.cli")
    assert await logged(bus) == []


async def test_an_action_that_cannot_be_recorded_is_not_done(bus):
    await bus.bus.records.js.delete_stream("AUDIT")
    done = []
    with pytest.raises(MissingStream):
        async with recorded(bus.bus, "ada", "console", "discard"):
            done.append("discard")
    assert done == []
    notes = []
    async with recorded(bus.bus, "ada", "cli", "dead purge", missing=notes.append):  # a server of an earlier version
        done.append("purge")
    assert (done, notes) == (["purge"], ["stream AUDIT does not exist"])


async def test_an_export_is_complete_and_replaces_nothing(bus, tmp_path, capsys):
    for name in ("one", "two"):
        async with recorded(bus.bus, "ada", "cli", name, {"text": "\x1b[31mred"}):
            pass
    await bus.bus.records.js.publish("audit.cli", b"written by hand")
    creds = tmp_path / "operator.creds"
    creds.write_text(bus.broker.identities.creds("operator"))
    access = ServerAccess(bus.url, str(creds))
    await _export(access, tmp_path / "log.jsonl", 0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(one["seq"], one["entry"] and one["entry"]["action"]) for one in lines] == [
        *((1, "one"), (2, "one"), (3, "two"), (4, "two"), (5, None))
    ]
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="exists"):
        await _export(access, tmp_path / "log.jsonl", 0)
    capsys.readouterr()
    await _ls(access, None, as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "cannot be read" in shown
