"""Roles: what holds for every template, whatever a server makes of it (tests/integration/broker asks one)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headway.broker.identity import Identities
from headway.broker.roles import ROLES, TEMPLATES
from headway.bus.errors import InvalidSubject


@pytest.mark.parametrize("role", [role for role in ROLES if role not in {"operator", "records"}])
def test_no_role_but_the_operator_may_use_everything(role: str) -> None:
    template = TEMPLATES[role]  # type: ignore[index]
    for permission in (template.pub, template.sub):
        assert permission.allow
        assert not {">", "*", "*.>", "$JS.>", "$SYS.>"} & set(permission.allow)


@pytest.mark.parametrize("role", ["worker", "client", "browser", "web", "control", "console"])
def test_replies_reach_their_asker_alone(role: str) -> None:
    allowed = TEMPLATES[role].sub.allow  # type: ignore[index]
    assert [subject for subject in allowed if subject.startswith("_INBOX")] == ["_INBOX.{{subject()}}.>"]


def test_all_that_a_client_or_browser_may_use_is_its_tenants() -> None:
    for role in ("client", "browser"):
        for permission in (TEMPLATES[role].pub, TEMPLATES[role].sub):
            assert all("{{tag(tenant)}}" in s or s.startswith("_INBOX") for s in permission.allow)


def test_the_pytest_plugin_costs_nothing_until_a_fixture_is_used() -> None:
    heavy = {"bus", "nats", "pydantic", "nacl"}
    code = f"import sys, broker.pytest_plugin; print({heavy} & {{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_a_console_reads_the_operators_objects_and_writes_nothing() -> None:
    console = TEMPLATES["console"]
    assert console.bearer_token
    assert (console.pub.allow, console.sub.allow[0]) == (["sync.headway.pull"], "live.headway.>")


@pytest.mark.parametrize("role", ["client", "browser"])
def test_no_user_of_a_tenants_role_is_made_for_the_consoles_tenant(role: str) -> None:
    with pytest.raises(InvalidSubject, match="console"):
        Identities.create().mint(role, tenant="headway")  # type: ignore[arg-type]
