"""Identities: the keys of an installation, and the credentials made with them.

One operator, a system account (for routes), an application account, one for clients and one for control, with one
scoped signing key per role. All seeds are in one file that only its owner may read; each request makes a new token.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import nkeys
import orjson

from headway.broker import accounts, atomic
from headway.broker.claims import (
    NO_LIMIT,
    Account,
    Claims,
    Limits,
    Operator,
    Scope,
    User,
    WeightedMapping,
    decode,
    encode,
)
from headway.broker.config import Trust
from headway.broker.errors import BadIdentity
from headway.broker.roles import INSIDE, OUTSIDE, ROLES, TAGS, TEMPLATES, WITH_RECORDS, Role
from headway.bus.client.connection import SEAL
from headway.bus.client.ids import BLOCK, tenant_secret
from headway.bus.errors import UsageError
from headway.bus.wire import subjects
from headway.bus.wire.proof import ISSUER_TAG

KEY_FILE: Final = "keys.json"
SUM_FILE: Final = "keys.sha256"
"""Checksum of the key file, as `sha256sum -c` reads it."""
STORE: Final = "nats"
"""Directory of the server's data within a data directory."""
_TORN: Final = 0.2
"""Seconds after which a key file that does not match its checksum is read again: it may be in the middle of an
update.
"""
CLIENTS_KEY: Final = "clients"
"""Name of the clients' account in the key file."""
CONTROL_KEY: Final = "control"
"""Name of control's account in the key file."""
_OPERATOR_KEY: Final = "operator"
_ROLE_KEY: Final = "role-"

_ACCOUNT: Final = re.compile(r"A[A-Z2-7]{55}")
_TOKEN: Final = re.compile(r"BEGIN NATS USER JWT-+\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's token and key.

    Attributes:
        public_key: the user's, also the prefix of its private inboxes.
        jwt: the token. For a bearer role it is enough to connect, so `repr` hides it, too.
        ids: the secret of its message ids (`headway.bus.client.ids`); empty for roles of pages.
        records: a user of control's account that belongs to these credentials; None for roles without one.
    """

    public_key: str
    jwt: str = field(repr=False)
    seed: str = field(repr=False)
    ids: str = field(repr=False, default="")
    records: Credentials | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """Return the content of a `.creds` file. All NATS clients read its first user; Headway's also the second."""
        return self._own + (self.records.text if self.records is not None else "")

    @property
    def _own(self) -> str:
        return (
            f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n"
            "NKEYs are sensitive and should be treated as secrets.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n\n"
            "*************************************************************\n"
            + (f"\n-----BEGIN {BLOCK}-----\n{self.ids}\n------END {BLOCK}------\n" if self.ids else "")
        )


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """The part of the accounts' tokens that changes at run time.

    Attributes:
        mappings: compiled routes (`headway.broker.routes.compile`).
        revoked: by public key of a user, the unix second up to which its tokens are void.
        issued_at: unix seconds; None is now. When servers compare two tokens, the later one counts.
    """

    mappings: Mapping[str, list[WeightedMapping]] = field(default_factory=dict)
    revoked: Mapping[str, int] = field(default_factory=dict)
    issued_at: int | None = None


class Identities:
    """The keys of one installation. Its `repr` shows public keys only.

    Args:
        seeds: seed of "operator", "system", "account", "clients", "control" and "role-<role>".
        data_dir: where `creds_file` writes; None if they are not kept on disk.
    """

    def __init__(self, seeds: Mapping[str, str], data_dir: Path | None = None) -> None:
        try:
            self._keys = {name: _key(seeds[name]) for name in _seed_names() if name in seeds or name in _FIRST}
        except KeyError as error:
            raise BadIdentity(f"the key of {error.args[0]} is missing") from error
        for name, key in self._keys.items():
            wanted = "O" if name == _OPERATOR_KEY else "A"
            if key.public_key.decode()[0] != wanted:
                raise BadIdentity(f"the key of {name} is of another kind")
        for name in _seed_names():
            if name not in self._keys:  # installations of earlier versions lack it
                raw = self._derive("account", name)
                self._keys[name] = _key(nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_ACCOUNT).decode())
        self._dir = data_dir

    def __repr__(self) -> str:
        return f"Identities(operator={self.operator!r}, account={self.account!r})"

    @classmethod
    def create(cls) -> Identities:
        """Make new keys without saving them."""
        return cls({name: _new_seed(name) for name in _seed_names()})

    @classmethod
    def create_or_load(cls, data_dir: Path) -> Identities:
        """Return the keys in `<data_dir>/keys.json`; make them if the directory is new.

        Concurrent processes get the same keys.

        Raises:
            BadIdentity: if the file is damaged, cannot be read, may be read by others, or does not belong to the data
                beside it. New keys never replace it, since they would open an empty installation.
        """
        path = data_dir / KEY_FILE
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists() and not has_data(data_dir):
                content = orjson.dumps({name: _new_seed(name) for name in _seed_names()}, option=orjson.OPT_INDENT_2)
                if atomic.create(path, content):
                    atomic.create(data_dir / SUM_FILE, _sum_of(content))
        except OSError as error:
            raise BadIdentity(f"cannot use the keys in {path}: {error.strerror}", remedy=_owner_remedy(path)) from error
        return cls.load(data_dir)

    @classmethod
    def load(cls, data_dir: Path) -> Identities:
        """Return the keys in `<data_dir>/keys.json`.

        Raises:
            BadIdentity: as `create_or_load`, and if there are none.
        """
        path = data_dir / KEY_FILE
        try:
            if path.stat().st_mode & 0o077:
                raise BadIdentity(f"{path} holds secret keys but others may read it", remedy=f"chmod 600 {path}")
            content = _checked(path)
            found = orjson.loads(content)
        except FileNotFoundError as error:
            if has_data(data_dir):
                what = f"{path} is gone, and only its keys open the data in {data_dir / STORE}"
                raise BadIdentity(what, remedy=_bring_back(data_dir)) from error
            raise BadIdentity(
                f"{data_dir} has no keys", remedy="name the data directory of the installation"
            ) from error
        except OSError as error:
            raise BadIdentity(f"cannot use the keys in {path}: {error.strerror}", remedy=_owner_remedy(path)) from error
        except orjson.JSONDecodeError as error:
            raise _damaged(path) from error
        if not isinstance(found, dict) or not all(isinstance(seed, str) for seed in found.values()):
            raise _damaged(path)
        if strange := found.keys() - set(_seed_names()):  # a damaged name would make a new key
            raise _damaged(path, f"it names a key {min(strange)!r} that there is none of")
        try:
            identities = cls(found, data_dir)
        except BadIdentity as error:
            raise _damaged(path, error.message) from error
        identities.check_data(data_dir)
        with contextlib.suppress(OSError):  # an earlier version wrote none; reading needs no checksum
            atomic.create(data_dir / SUM_FILE, _sum_of(content))
        return identities

    @staticmethod
    def store(data_dir: Path, seeds: Mapping[str, str]) -> None:
        """Replace the key file and its checksum, so that an interruption leaves a readable file."""
        content = orjson.dumps(dict(seeds), option=orjson.OPT_INDENT_2)
        (data_dir / SUM_FILE).unlink(missing_ok=True)
        atomic.write(data_dir / KEY_FILE, content)
        atomic.write(data_dir / SUM_FILE, _sum_of(content))

    def check_data(self, data_dir: Path) -> None:
        """Check that the data in a directory was made with these keys.

        Raises:
            BadIdentity: if it was made with other keys: a server would ignore it and start empty.
        """
        found = _accounts_of(data_dir)
        if found and not found & {self.account, self.control}:
            raise BadIdentity(
                f"the data in {data_dir / STORE} was made with other keys than those in {data_dir / KEY_FILE}",
                remedy=_bring_back(data_dir),
            )

    @property
    def operator(self) -> str:
        """Return the public key of the operator."""
        return self._public(_OPERATOR_KEY)

    @property
    def system(self) -> str:
        """Return the public key of the system account."""
        return self._public("system")

    @property
    def account(self) -> str:
        """Return the public key of the application account."""
        return self._public("account")

    @property
    def clients(self) -> str:
        """Return the public key of the clients' account."""
        return self._public(CLIENTS_KEY)

    @property
    def control(self) -> str:
        """Return the public key of control's account."""
        return self._public(CONTROL_KEY)

    def operator_jwt(self) -> str:
        """Return the token that a server trusts as its root."""
        claims = Claims(sub=self.operator, name="headway", nats=Operator(system_account=self.system))
        return encode(claims, self._keys[_OPERATOR_KEY])

    def system_jwt(self) -> str:
        """Return the token of the system account."""
        claims = Claims(sub=self.system, name="system", nats=Account(limits=Limits.unlimited(jetstream=False)))
        return encode(claims, self._keys[_OPERATOR_KEY])

    def account_jwt(self, policy: TrafficPolicy | None = None) -> str:
        """Return the token of the application account."""
        policy = policy or TrafficPolicy()
        body = accounts.application(self.clients, self._scopes(self.account), policy.mappings, policy.revoked)
        return self._account_jwt(self.account, "headway", body, policy.issued_at)

    def clients_jwt(self, policy: TrafficPolicy | None = None) -> str:
        """Return the token of the clients' account."""
        policy = policy or TrafficPolicy()
        body = accounts.clients(self.account, self._scopes(self.clients), policy.mappings, policy.revoked)
        return self._account_jwt(self.clients, "headway-clients", body, policy.issued_at)

    def control_jwt(self, policy: TrafficPolicy | None = None) -> str:
        """Return the token of control's account."""
        policy = policy or TrafficPolicy()
        body = accounts.control(self._scopes(self.control), policy.revoked)
        return self._account_jwt(self.control, "headway-control", body, policy.issued_at)

    def trust(self, policy: TrafficPolicy | None = None) -> Trust:
        """Return what a server needs to trust this operator and its accounts."""
        tokens = {
            self.system: self.system_jwt(),
            self.account: self.account_jwt(policy),
            self.clients: self.clients_jwt(policy),
            self.control: self.control_jwt(policy),
        }
        return Trust(operator=self.operator_jwt(), system=self.system, accounts=tokens)

    def complete(self, seeds: Mapping[str, str]) -> dict[str, str]:
        """Return the seeds of all keys for the key file, including keys that it does not have yet."""
        return {name: key.seed.decode() for name, key in self._keys.items()} | dict(seeds)

    def issued(self, claims: Claims[User]) -> bool:
        """Return whether a user's token is signed for an account that accepts its signer."""
        signers = {self._public(_ROLE_KEY + role): self._account_of(role) for role in ROLES}
        return signers.get(claims.iss) == claims.nats.issuer_account

    def mint(
        self,
        role: Role,
        *,
        tenant: str | None = None,
        service: str | None = None,
        name: str | None = None,
        expires: timedelta | None = None,
        person: str | None = None,
    ) -> Credentials:
        """Make a user.

        Args:
            role: what it may do.
            tenant: the user's tenant; required for the roles client and browser, refused for others.
            service: the service it runs; required for the role worker.
            name: shown in the server's list of connections.
            expires: how long it is valid; then the server disconnects it. None is for ever.
            person: id of the person who uses it, in the application. All tokens of one person of a tenant have the
                same key, so that they can be revoked together; `name` is then the same id.

        Raises:
            UsageError: for an unknown role, or a tenant or service that does not fit the role.
            InvalidSubject: if tenant or service break the grammar, or the tenant is reserved.
        """
        if role not in TEMPLATES:
            raise UsageError(f"there is no role {role!r}", remedy=f"roles are {', '.join(ROLES)}")
        given = {"tenant": tenant, "service": service}
        bound = TAGS.get(role)
        tags = []
        for what, value in given.items():
            if (value is not None) != (what == bound):
                need = f"needs a {what}" if value is None else f"is not bound to a {what}"
                raise UsageError(f"the role {role} {need}")
            if value is not None:
                check = subjects.application_tenant(value) if what == "tenant" else subjects.token(value, what)
                tags.append(f"{what}:{check}")
        if role == "worker":
            tags.append(f"{ISSUER_TAG}{self.role_key('browser')}")  # whose word on a page's user it trusts
        if service is not None:
            tags.append(f"{SEAL}:{self.seal(service)}")
        body = User(issuer_account=self._account_of(role), tags=tags)
        if person is not None:
            raw = self._derive(_ROLE_KEY + role, f"{tenant or ''}\0{person}")
            return self._user(body, name or person, _ROLE_KEY + role, expires, raw)
        label = name or ".".join([role, *(value for value in given.values() if value is not None)])
        made = self._user(body, label, _ROLE_KEY + role, expires)
        if not TEMPLATES[role].bearer_token:
            made = replace(made, ids=self._ids(role, tenant))
        if role in WITH_RECORDS:
            inside = self._user(User(issuer_account=self.control), label, f"{_ROLE_KEY}records", expires)
            made = replace(made, records=replace(inside, ids=made.ids))
        return made

    def _ids(self, role: Role, tenant: str | None) -> str:
        """Return the secret for message ids: a client's is that of its tenant, the others have the installation's."""
        root = self._derive("account", "message-ids")
        if role in OUTSIDE and tenant is not None:
            return f"tenant:{tenant_secret(root, tenant).hex()}"
        return f"root:{root.hex()}"

    def role_key(self, role: Role) -> str:
        """Return the public key that signs a role's users; connections show it as their issuer."""
        return self._public(_ROLE_KEY + role)

    def signer(self, role: Role) -> Callable[[bytes], bytes]:
        """Return the function that signs with a role's key."""
        sign: Callable[[bytes], bytes] = self._keys[_ROLE_KEY + role].sign
        return sign

    def seal(self, service: str) -> str:
        """Return the secret part of the subjects that belong to a service's workers alone."""
        return self._derive("account", f"seal {service}").hex()[:32]

    def mint_system(self) -> Credentials:
        """Make a user of the system account, which may push routes. Never give it to an application."""
        unbounded = User(subs=NO_LIMIT, data=NO_LIMIT, payload=NO_LIMIT)
        return self._user(unbounded, "headway-routes", "system", None)

    def creds(
        self,
        role: Role,
        *,
        tenant: str | None = None,
        service: str | None = None,
        name: str | None = None,
        expires: timedelta | None = None,
    ) -> str:
        """Make a user as `mint` does; return the text of its `.creds` file."""
        return self.mint(role, tenant=tenant, service=service, name=name, expires=expires).text

    def creds_file(
        self,
        role: Role,
        *,
        tenant: str | None = None,
        service: str | None = None,
        name: str | None = None,
        expires: timedelta | None = None,
    ) -> Path:
        """Make a user as `mint` does; write `<data_dir>/creds/<role>[.<tenant or service>].creds`, mode 0600.

        Raises:
            UsageError: if the identities have no directory, and as `mint`.
        """
        if self._dir is None:
            raise UsageError("these identities have no directory", remedy="use creds() to get the text")
        made = self.mint(role, tenant=tenant, service=service, name=name, expires=expires)
        label = re.sub(r"[^A-Za-z0-9.-]", "_", name) if name else ".".join(filter(None, [role, tenant, service]))
        path = self._dir / "creds" / f"{label}.creds"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        atomic.write(path, made.text.encode())
        return path

    def _account_of(self, role: Role) -> str:
        if role in INSIDE:
            return self.control
        return self.clients if role in OUTSIDE else self.account

    def _account_jwt(self, public: str, name: str, body: Account, issued_at: int | None) -> str:
        return encode(Claims(sub=public, name=name, nats=body), self._keys[_OPERATOR_KEY], issued_at=issued_at)

    def _scopes(self, account: str) -> list[str | Scope]:
        """Return the roles of an account."""
        here = [role for role in ROLES if self._account_of(role) == account]
        return [Scope.of(self._public(_ROLE_KEY + role), role, TEMPLATES[role]) for role in here]

    def _public(self, name: str) -> str:
        return str(self._keys[name].public_key.decode())

    def _derive(self, name: str, what: str) -> bytes:
        """Derive 32 bytes from the key `name`, always the same for the same `what`."""
        return hmac.digest(bytes(self._keys[name].seed), what.encode(), hashlib.sha256)

    def _user(
        self, body: User, name: str, signer: str, expires: timedelta | None, raw: bytes | None = None
    ) -> Credentials:
        seed = nkeys.encode_seed(raw or secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        public = nkeys.from_seed(seed).public_key.decode()
        until = 0 if expires is None else int(time.time() + expires.total_seconds())
        jwt = encode(Claims(sub=public, name=name, exp=until, nats=body), self._keys[signer])
        return Credentials(public_key=public, jwt=jwt, seed=seed.decode())


def _checked(path: Path) -> bytes:
    """Read a key file and compare it with its checksum, if there is one.

    Raises:
        BadIdentity: if they do not match.
        OSError: if the key file cannot be read.
    """
    for last in (False, True):
        content = path.read_bytes()
        try:
            wanted = path.with_name(SUM_FILE).read_bytes()
        except FileNotFoundError:
            return content
        if wanted.split()[:1] == _sum_of(content).split()[:1]:
            return content
        if not last:
            time.sleep(_TORN)
    raise _damaged(path, f"it does not match its checksum in {path.with_name(SUM_FILE)}")


def _sum_of(content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {KEY_FILE}\n".encode()


def has_data(data_dir: Path) -> bool:
    """Return whether a data directory holds streams."""
    return bool(_accounts_of(data_dir))


def _accounts_of(data_dir: Path) -> set[str]:
    """Return the public keys of the accounts that have streams in a data directory."""
    try:
        accounts = [path for path in (data_dir / STORE / "jetstream").iterdir() if _ACCOUNT.fullmatch(path.name)]
        return {path.name for path in accounts if any((path / "streams").iterdir())}
    except OSError:
        return set()


def _damaged(path: Path, why: str = "") -> BadIdentity:
    return BadIdentity(f"{path} is damaged{f': {why}' if why else ''}", remedy=_bring_back(path.parent))


def _bring_back(data_dir: Path) -> str:
    return (
        f"copy data/keys.json of a backup to {data_dir / KEY_FILE} (chmod 600) and delete {data_dir / SUM_FILE}; "
        f"to start empty, move {data_dir} away"
    )


def _owner_remedy(path: Path) -> str:
    return f"run it as the user that owns {path.parent}, or give it to yours: chown -R"


_FIRST: Final = (_OPERATOR_KEY, "system", "account")
"""Keys that every installation has had from the start."""


def user_of(creds: str) -> Claims[User]:
    """Return the claims of the user in the text of a `.creds` file.

    Raises:
        BadIdentity: if it holds none, or it is damaged.
    """
    found = _TOKEN.search(creds)
    if found is None:
        raise BadIdentity("holds no token")
    return decode(found[1], User)


def _seed_names() -> list[str]:
    return [*_FIRST, CLIENTS_KEY, CONTROL_KEY, *(_ROLE_KEY + role for role in ROLES)]


def _new_seed(name: str) -> str:
    prefix = nkeys.PREFIX_BYTE_OPERATOR if name == _OPERATOR_KEY else nkeys.PREFIX_BYTE_ACCOUNT
    return str(nkeys.encode_seed(secrets.token_bytes(32), prefix).decode())


def _key(seed: str) -> nkeys.KeyPair:
    try:
        key = nkeys.from_seed(seed.encode())
        key.public_key  # noqa: B018  # noqa: B018  # computing it checks the seed's kind
    except Exception:  # nkeys raises various errors of base64 and nacl
        # `from None`: the cause's text may quote the seed.
        raise BadIdentity("a seed is damaged") from None
    return key
