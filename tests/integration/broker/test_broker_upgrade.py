"""Installations of the version before, whose clients were users of the application account."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats.js.errors
import nkeys
import orjson
import pytest

from headway.broker import queues, routes, testing
from headway.broker.broker import Broker
from headway.broker.claims import Account, Claims, Limits, Permission, Scope, User, encode
from headway.broker.config import FREE_PORT, NatsConfig, Trust
from headway.broker.identity import CLIENTS_KEY, CONTROL_KEY, KEY_FILE, SUM_FILE, Credentials, Identities, user_of
from headway.broker.roles import ROLES, TEMPLATES
from headway.broker.server import Server
from headway.broker.upgrade import upgrade
from headway.bus.client.bus import Bus
from headway.bus.client.connection import connect
from headway.bus.errors import ConnectionFailed, HeadwayError
from headway.bus.nats import streams
from headway.bus.service import Service
from headway.bus.worker.worker import Worker
from headway.control.records import RolloutRecord, VersionRecord
from headway.control.store import Control

ROUTES = {"fax": {"v1": 100}}


@dataclass(frozen=True)
class Old:
    """A data directory of the version before."""

    directory: Path

    @property
    def identities(self) -> Identities:
        return Identities.create_or_load(self.directory)

    def trust(self) -> Trust:
        """Whom its servers believe: one account with all roles, and no other."""
        keys = self.identities
        client = [*TEMPLATES["client"].pub.allow, "job.*.*.*.{{tag(tenant)}}.*"]
        then = {**TEMPLATES, "client": TEMPLATES["client"].model_copy(update={"pub": Permission(allow=client)})}
        scopes: list[str | Scope] = [Scope.of(keys.role_key(role), role, then[role]) for role in ROLES]
        body = Account(limits=Limits.unlimited(jetstream=True), signing_keys=scopes, mappings=routes.compile(ROUTES))
        issued = int(time.time()) - 60
        account = encode(Claims(sub=keys.account, name="headway", nats=body), self._key("operator"), issued_at=issued)
        accounts = {keys.system: keys.system_jwt(), keys.account: account}
        return Trust(operator=keys.operator_jwt(), system=keys.system, accounts=accounts)

    def client(self, *, expires: timedelta | None = None) -> str:
        """Credentials of a client of acme, as that version made them."""
        seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(seed).public_key.decode()
        until = 0 if expires is None else int(time.time() + expires.total_seconds())
        body = User(issuer_account=self.identities.account, tags=["tenant:acme"])
        jwt = encode(Claims(sub=public, name="billing", exp=until, nats=body), self._key("role-client"))
        return Credentials(public, jwt, seed.decode()).text

    def operator(self) -> str:
        """Credentials of an operator, as that version made them."""
        return replace(self.identities.mint("operator"), records=None).text

    def _key(self, name: str) -> nkeys.KeyPair:
        return nkeys.from_seed(orjson.loads((self.directory / KEY_FILE).read_bytes())[name].encode())


def old(directory: Path) -> Old:
    Identities.create_or_load(directory)
    keys = orjson.loads((directory / KEY_FILE).read_bytes())
    del keys[CLIENTS_KEY], keys[CONTROL_KEY]
    (directory / KEY_FILE).write_bytes(orjson.dumps(keys))
    (directory / SUM_FILE).unlink()
    (directory / "creds").mkdir()
    return Old(directory)


@asynccontextmanager
async def serving(url: str, identities: Identities) -> AsyncIterator[None]:
    service = Service("fax")

    @service.rpc("say")
    async def say(request: str) -> str:
        return request

    @service.job("send")
    async def send(request: str) -> None: ...

    operator = replace(identities.mint("operator"), records=None)
    async with (
        await connect(url, creds=operator.text) as control,
        queues.served(control),
        await connect(url, creds=identities.creds("worker", service="fax")) as bus,
        Worker(service, bus, version="v1"),
    ):
        yield


async def _refused(url: str, creds: str) -> bool:
    """Whether the server does not take credentials, and it is said what to do."""
    try:
        async with await connect(url, creds=creds, timeout=1):
            return False
    except ConnectionFailed as error:
        return "issue new ones" in error.remedy


async def works(client: Bus) -> bool:
    try:
        await client.submit("fax", "send", "x", tenant="acme", timeout=2)
        return bool(await client.call("fax", "say", "hi", tenant="acme", timeout=2) == "hi")
    except HeadwayError:
        return False


async def test_a_server_that_is_started_anew_has_the_account_and_what_was_stored(tmp_path: Path, until: Any) -> None:
    before = old(tmp_path)
    creds = tmp_path / "creds" / "client.acme.creds"
    creds.write_text(before.client())
    records = {
        "version.fax.v1": VersionRecord(service="fax", version="v1", app="a:b", root=".", weight=100),
        "rollout.fax": RolloutRecord(service="fax", version="v2", phase="shift", step=1),
    }
    elsewhere = before.client()
    (tmp_path / "routes.json").write_bytes(orjson.dumps(ROUTES))
    config = NatsConfig(name="headway", store=tmp_path / "nats", trust=before.trust(), port=FREE_PORT, ws_port=None)
    async with Server(config) as server:
        async with await connect(server.url, creds=before.operator()) as operator:
            await streams.provision(operator.js)
            config = next(one for one in streams.of_control() if one.name == streams.CONTROL)
            await streams.ensure(operator.js, config)  # where the version before had it
            for key, record in records.items():
                await operator.js.publish(f"$KV.CONTROL.{key}", record.model_dump_json().encode())
            await operator.js.publish("$KV.CONTROL.epoch.scaler", b'{"holder":"x","epoch":7,"at":1}')
            for left in ("code.planted", "operator.planted", "lease.scaler"):
                await operator.js.publish(f"$KV.CONTROL.{left}", b"{}")
            await operator.tenant("acme").objects.put("call", "1", {"kept": True})
        async with serving(server.url, before.identities), await connect(server.url, creds=creds) as client:
            await until(lambda: works(client))
    notice = upgrade(tmp_path)
    assert notice is not None
    assert "client.acme.creds" in notice
    async with Broker.start(tmp_path, port=0) as broker:
        async with serving(broker.url, broker.identities), await connect(broker.url, creds=creds) as client:
            await until(lambda: works(client))
        async with await broker.connect("operator") as operator:
            assert await operator.tenant("acme").objects.get("call", "1", as_=dict) is not None
            control = Control(operator)
            await control.refresh()
            assert control.versions == {("fax", "v1"): records["version.fax.v1"]}
            assert control.rollouts == {"fax": records["rollout.fax"]}
            kept = (await operator.records.js.stream_info(streams.CONTROL, subjects_filter=">")).state.subjects
            assert set(kept) == {f"$KV.CONTROL.{key}" for key in (*records, "epoch.scaler")}
            with pytest.raises(nats.js.errors.NotFoundError):
                await operator.js.stream_info(streams.CONTROL)
        await until(lambda: _refused(broker.url, elsewhere))


async def test_servers_that_run_learn_of_the_accounts_when_control_connects(tmp_path: Path, until: Any) -> None:
    before = old(tmp_path)

    def make(config: NatsConfig) -> Server:
        server = Server(config)
        server.trust(before.trust())
        return server

    async with (
        testing.cluster(home=tmp_path, make=make) as cluster,
        serving(cluster.servers[1].url, before.identities),
    ):
        assert upgrade(tmp_path) is not None
        assert await cluster.broker.set_routes(ROUTES) == ("n0", "n1", "n2")
        for server in cluster.servers:
            await until(lambda server=server: _refused(server.url, before.client()))
            async with await connect(server.url, creds=before.identities.creds("control")) as control:
                assert (await control.records.js.account_info()).streams == len(streams.of_control())
        creds = cluster.broker.identities.creds("client", tenant="acme")
        for server in cluster.servers:
            async with await connect(server.url, creds=creds) as renewed:
                await until(lambda renewed=renewed: works(renewed))
        # A server that starts from its old configuration goes by what it was told since.
        await cluster.servers[2].restart()
        async with await connect(cluster.servers[2].url, creds=creds) as renewed:
            await until(lambda: works(renewed))


def test_credentials_are_made_anew_for_the_same_tenant_and_end_as_the_old_ones(tmp_path: Path) -> None:
    before = old(tmp_path)
    files = {
        "client.acme.creds": before.client(expires=timedelta(hours=1)),
        "gone.creds": before.client(expires=timedelta(seconds=-5)),
        "worker.fax.creds": before.identities.creds("worker", service="fax"),
        "damaged.creds": "nothing",
    }
    for name, text in files.items():
        (tmp_path / "creds" / name).write_text(text)
    notice = upgrade(tmp_path)
    changed = {name for name, text in files.items() if (tmp_path / "creds" / name).read_text() != text}
    assert changed == {"client.acme.creds", "worker.fax.creds"}
    was, now = user_of(files["client.acme.creds"]), user_of((tmp_path / "creds" / "client.acme.creds").read_text())
    assert (now.name, now.nats.tags) == (was.name, was.nats.tags)
    assert abs(now.exp - was.exp) <= 2
    identities = before.identities
    assert (identities.issued(was), identities.issued(now)) == (False, True)
    assert notice is not None
    assert "client.acme.creds" in notice


def test_it_is_done_once_and_keeps_all_keys(tmp_path: Path) -> None:
    before = old(tmp_path)
    keys = orjson.loads((tmp_path / KEY_FILE).read_bytes())
    clients = before.identities.clients
    assert upgrade(tmp_path) is not None
    assert upgrade(tmp_path) is None
    after = orjson.loads((tmp_path / KEY_FILE).read_bytes())
    assert {name: after[name] for name in keys} == keys
    assert after.keys() - keys.keys() == {CLIENTS_KEY, CONTROL_KEY}
    assert Identities.create_or_load(tmp_path).clients == clients  # as those had it who were quicker
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_new_installation_and_none_have_nothing_to_upgrade(tmp_path: Path) -> None:
    assert upgrade(tmp_path / "nowhere") is None
    Identities.create_or_load(tmp_path)
    assert upgrade(tmp_path) is None
