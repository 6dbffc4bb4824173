"""The accounts of an installation, and what passes between them. Pure.

    clients' account                                application account
      rpc.* mapped to a version    -- stream ---->    workers
      _INBOX.<client>.>            <-- stream ----    their replies
      job.*, later.*, event.>      -- service --->    mapped, stored by JetStream
      the reply subject named      <-- answer ----    its acknowledgement

JetStream sends an acknowledgement to whatever reply subject the publisher named, without checking the publisher's
rights. When jobs go through a service export, the acknowledgement reaches only the clients' account, where no stream
listens. See docs/decisions/0021-an-account-for-clients.md.

Control's account has the control records and the console. It imports and exports nothing: JetStream's answers follow
imports (docs/decisions/0032-an-account-for-control.md), so that nothing of the other accounts may lead there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headway.broker.claims import Account, Export, Import, Limits, Scope, WeightedMapping
from headway.broker.routes import DIRECT

_CALLS: Final = "rpc.*.*.*.*"
"""Calls in mapped form only: clients cannot reach unmapped subjects or the probes of a split."""
_STORED: Final = ("job.*.*.*", "later.*.*.*", "event.>")
"""What clients may have stored: jobs on the plain subject, so that routes choose their version and lane."""
_REPLIES: Final = "_INBOX.>"
CLIENTS: Final = 16_384
"""Most connections of all clients together, a quarter of what a server takes by default: workers keep their room."""


def application(
    clients: str,
    scopes: Sequence[str | Scope],
    mappings: Mapping[str, list[WeightedMapping]],
    revoked: Mapping[str, int],
) -> Account:
    """Return the application account: JetStream, workers, pages, control.

    Args:
        clients: public key of the clients' account.
        scopes: the roles of its users.
        mappings: compiled routes.
        revoked: by public key of a user, the unix second up to which its tokens are void.
    """
    return Account(
        imports=[Import(name="calls", subject=_CALLS, account=clients, type="stream")],
        # Public exports: accounts, and so their imports, are signed by the operator alone.
        exports=[
            *(Export(name=subject, subject=subject, type="service") for subject in _STORED),
            Export(name="replies", subject=_REPLIES, type="stream"),
        ],
        limits=Limits.unlimited(jetstream=True),
        signing_keys=list(scopes),
        mappings={**mappings, **DIRECT},
        revocations=dict(revoked),
    )


def clients(
    application: str,
    scopes: Sequence[str | Scope],
    mappings: Mapping[str, list[WeightedMapping]],
    revoked: Mapping[str, int],
) -> Account:
    """Return the clients' account, which has nothing of its own but their inboxes.

    Calls leave it as a stream, mapped here, and not as a service. The server keeps the pending answers of a service
    with the exporting account and drops them with each new token of it, which comes with every change of routes.

    Args:
        application: public key of the application account.
        scopes: the roles of its users.
        mappings: compiled routes; only those of calls are used.
        revoked: as for `application`.
    """
    return Account(
        imports=[
            *(Import(name=subject, subject=subject, account=application, type="service") for subject in _STORED),
            Import(name="replies", subject=_REPLIES, account=application, type="stream"),
        ],
        exports=[Export(name="calls", subject=_CALLS, type="stream")],
        limits=Limits.unlimited(jetstream=False).model_copy(update={"conn": CLIENTS}),
        signing_keys=list(scopes),
        mappings={**{source: targets for source, targets in mappings.items() if source.startswith("rpc.")}, **DIRECT},
        revocations=dict(revoked),
    )


def control(scopes: Sequence[str | Scope], revoked: Mapping[str, int]) -> Account:
    """Return control's account: JetStream, and no way in or out.

    Args:
        scopes: the roles of its users.
        revoked: as for `application`.
    """
    return Account(limits=Limits.unlimited(jetstream=True), signing_keys=list(scopes), revocations=dict(revoked))
