"""Make proofs of users: one with each session, and one for each job that a page submits (bus/wire/proof.py)."""

from __future__ import annotations

import time

from headway.broker.identity import Identities
from headway.bus.errors import Reject
from headway.bus.wire import proof
from headway.bus.wire.proof import User
from headway.clientsync.errors import NotSignedIn
from headway.clientsync.web.tokens import SignedIn


class Proofs:
    """Signs with the key of the pages' sessions.

    Args:
        identities: the keys of the installation.
    """

    def __init__(self, identities: Identities) -> None:
        self._issuer = identities.role_key("browser")
        self._sign = identities.signer("browser")

    def of_session(self, who: SignedIn, session: str, expires: int) -> str:
        """Return the proof that a page sends with its calls and jobs.

        Args:
            who: the page's user.
            session: public key of the session.
            expires: unix second at which the session ends.
        """
        user = User(who.user, who.claims)
        return proof.for_session(user, who.tenant, session, expires, self._issuer, self._sign)

    def of_job(self, tenant: str, given: str | None, reply: str, place: str, payload: bytes) -> str:
        """Return the proof of a page's job. That of a page that names nobody makes `ctx.user` refuse.

        Args:
            tenant: the page's tenant.
            given: the proof that the page sent.
            reply: reply subject of its request.
            place: service and operation, as `fax.send`.
            payload: of the job.

        Raises:
            NotSignedIn: if the page's proof is not valid.
        """
        user = User("")
        if given is not None:
            try:
                user = proof.of_call(given, frozenset({self._issuer}), tenant, reply, time.time())
            except Reject as error:
                raise NotSignedIn(error.message, remedy=error.remedy) from error
        return proof.for_job(user, tenant, place, payload, self._issuer, self._sign)
