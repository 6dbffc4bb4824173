"""What passes between the application account and that of its clients, and nothing else does."""

from __future__ import annotations

from headway.broker import accounts, routes
from headway.broker.claims import Account, decode
from headway.broker.identity import Identities, TrafficPolicy
from headway.broker.roles import ROLES
from headway.broker.routes import DIRECT, prove

ROUTES = routes.compile({"fax": {"v1": 95, "v2": 5}})


def test_each_side_imports_what_the_other_one_exports() -> None:
    application = accounts.application("C", [], ROUTES, {})
    clients = accounts.clients("A", [], ROUTES, {})
    for one, other in ((application, clients), (clients, application)):
        assert {(i.subject, i.type) for i in one.imports} == {(e.subject, e.type) for e in other.exports}
    assert {one.account for one in application.imports} == {"C"}
    assert {one.account for one in clients.imports} == {"A"}


def test_what_jetstream_stores_comes_as_a_service_so_that_its_acknowledgement_leaves_the_account() -> None:
    exported = {one.subject: one.type for one in accounts.application("C", [], {}, {}).exports}
    assert exported == {
        "job.*.*.*": "service",
        "later.*.*.*": "service",
        "event.>": "service",
        "_INBOX.>": "stream",
    }


def test_the_clients_account_stores_nothing_and_maps_calls_alone() -> None:
    clients = accounts.clients("A", [], ROUTES, {})
    assert (clients.limits.disk_storage, clients.limits.mem_storage, clients.limits.streams) == (0, 0, 0)
    assert clients.mappings == {"rpc.fax.*.*": ROUTES["rpc.fax.*.*"], **DIRECT}


def test_both_accounts_take_calls_that_name_a_version_to_a_subject_of_their_own() -> None:
    for account in (accounts.application("C", [], {}, {}), accounts.clients("A", [], {}, {})):
        assert account.mappings == DIRECT
        prove(account)


def test_nothing_leads_into_controls_account_or_out_of_it() -> None:
    control = accounts.control([], {})
    assert (control.imports, control.exports, control.mappings) == ([], [], {})


def test_each_role_is_of_one_account_and_revocations_hold_in_all() -> None:
    identities, policy = Identities.create(), TrafficPolicy(revoked={"U": 1})
    made = (identities.account_jwt(policy), identities.clients_jwt(policy), identities.control_jwt(policy))
    tokens = [decode(token, Account).nats for token in made]
    roles = [{scope.role for scope in account.signing_keys if not isinstance(scope, str)} for account in tokens]
    assert roles == [set(ROLES) - {"client", "console", "records"}, {"client"}, {"console", "records"}]
    assert [account.revocations for account in tokens] == 3 * [{"U": 1}]
