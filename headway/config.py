"""`headway.yaml`: the services to run. Unknown keys are refused, and every error shows its line.

services:
  fax:
    app: headway.services.fax:fax     # module:variable of the Service
    version: v1
    scale: {max: 8}           # how many workers, by load; or a fixed number: `workers: 2`
    grace: 5m                 # that work in hand has when a worker stops; left out: as long as its jobs may take
    config: {}                # frozen with the version, checked by the service's own model
server:
  port: 4222
  websocket_port: 4280
  store: .headway
  durability: fast          # or strict: on disk before it is acknowledged
tenants:
  acme: {weight: 3}         # of the workers' time when tenants compete; the others have 1
web:                          # browsers: sessions and live objects; left out, there is none
  dev_issuer: true
"""

from __future__ import annotations

import difflib
from ipaddress import ip_network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from headway.broker.config import LOOPBACK
from headway.bus.errors import HeadwayError
from headway.bus.wire import subjects
from headway.control.records import Priority, Scale, Seconds
from headway.endpoint import CONFIG_FILE, DEFAULT_DIR
from headway.yamlfile import Problem, ValuePath, YamlDocument, parse, read

DEFAULT_VERSION: Final = "v1"

_REMEDY = "correct the file and run the command again"
_MAX_WORKERS = 256


def _token(what: str) -> Any:
    def check(value: str) -> str:
        try:
            return subjects.token(value, what)
        except HeadwayError as error:
            raise ValueError(str(error)) from error

    return AfterValidator(check)


def _check_app(value: str) -> str:
    module, _, variable = value.partition(":")
    if not variable.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{value!r} is not module:variable, such as headway.services.fax:fax")
    return value


def _check_proxy(value: str) -> str:
    try:
        ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not an address or a network, such as 10.0.0.7 or 10.0.0.0/24") from error
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServiceConfig(_Strict):
    """One service: its code, its version and its number of workers.

    Attributes:
        workers: a fixed number; None scales by load.
        scale: the scaling policies; None uses the defaults.
        grace: seconds to finish work in progress when a worker is stopped; None allows as long as its jobs may take.
        priority: "low" yields the processor to "high"; None is low for a service with jobs or events.
    """

    app: Annotated[str, AfterValidator(_check_app)]
    version: Annotated[str, _token("version")] = DEFAULT_VERSION
    workers: int | None = Field(default=None, ge=0, le=_MAX_WORKERS)
    scale: Scale | None = None
    grace: Seconds | None = None
    priority: Priority | None = None
    config: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_of_both(self) -> ServiceConfig:
        if self.workers is not None and self.scale is not None:
            raise ValueError("workers fixes the number and scale adjusts it: give one of them")
        return self

    @property
    def scaling(self) -> Scale:
        """Return the scaling policies of the service."""
        return Scale.fixed(self.workers) if self.workers is not None else self.scale or Scale()


class ServerConfig(_Strict):
    """The embedded nats-server. Port 0 chooses a free one; `websocket_port: null` switches WebSocket off.

    Attributes:
        websocket_compression: fewer bytes to browsers, at three times the memory per connection.
        durability: "strict" syncs each message to disk before it is acknowledged; "fast" syncs every two minutes, so
            that a power cut (not the death of a process) may lose messages acknowledged last.
        replicas: copies of each stream in a cluster; None leaves existing streams unchanged.
    """

    port: int = Field(default=4222, ge=0, le=65535)
    websocket_port: int | None = Field(default=4280, ge=0, le=65535)
    websocket_compression: bool = False
    store: str = str(DEFAULT_DIR)
    durability: Literal["fast", "strict"] = "fast"
    replicas: int | None = Field(default=None, ge=1, le=5)

    @property
    def sync_interval(self) -> str:
        """Return how often nats-server syncs stored messages to disk."""
        return "always" if self.durability == "strict" else "2m"


class WebConfig(_Strict):
    """Client sync: sessions, changes and pages for browsers; see `headway web`.

    Attributes:
        port: port to listen on; 0 chooses a free one.
        ws_url: where browsers reach the server, if it is not the one that `headway up` starts.
        pages: directory of your own pages, served at `/`.
        issuer, audience: required issuer and audience of your application's tokens.
        jwks_url: the issuer's keys; found by OIDC discovery by default.
        tenant_claim, user_claim: the claims that name tenant and user.
        pass_claims: further claims that services are told, in `ctx.user`.
        console: serve the operator's console.
        role_claim: the claim that names roles or groups, for the console.
        viewer_role: what it holds for those who may see the console.
        operator_role, admin_role: likewise for those who may replay and steer, and those who may discard as well.
        dev_issuer: gives anybody a token for any user; for trying things out.
        origins: other origins whose pages may use it.
        proxies: addresses or networks of trusted reverse proxies (for `X-Forwarded-For`).
        session: lifetime of a session in seconds; pages renew it.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8480, ge=0, le=65535)
    ws_url: str | None = None
    pages: str | None = None
    issuer: str | None = None
    audience: str | None = None
    jwks_url: str | None = None
    tenant_claim: str = "tenant"
    user_claim: str = "sub"
    pass_claims: list[str] = []
    console: bool = True
    role_claim: str = "role"
    viewer_role: str = "viewer"
    operator_role: str = "operator"
    admin_role: str = "admin"
    dev_issuer: bool = False
    origins: list[str] = []
    proxies: list[Annotated[str, AfterValidator(_check_proxy)]] = []
    session: int = Field(default=600, ge=10, le=86_400)

    @model_validator(mode="after")
    def _knows_whom_to_believe(self) -> WebConfig:
        if (self.issuer is None) != (self.audience is None):
            raise ValueError("issuer and audience go together: give both, as in your tokens")
        if self.issuer is None and not self.dev_issuer:
            raise ValueError("give issuer and audience of your tokens, or try it with dev_issuer: true")
        return self

    def own_origins(self) -> tuple[str, ...]:
        """Return the origins whose pages may use the websocket listener; none if they are not all known.

        The address that people use is unknown behind a proxy, and where `host` is not the loopback, unless `origins`
        names it. It is unknown, too, while the port is not chosen.
        """
        if self.host not in LOOPBACK or self.proxies or self.ws_url is not None:
            return tuple(self.origins)
        if self.port == 0:
            return ()
        return (*(f"http://{host}:{self.port}" for host in ("127.0.0.1", "localhost", "[::1]")), *self.origins)

    def arguments(self) -> list[str]:
        """Return the equivalent options of `headway web`."""
        named = {
            "--host": self.host,
            "--port": str(self.port),
            "--ws-url": self.ws_url,
            "--pages": self.pages,
            "--issuer": self.issuer,
            "--audience": self.audience,
            "--jwks-url": self.jwks_url,
            "--tenant-claim": self.tenant_claim,
            "--user-claim": self.user_claim,
            "--role-claim": self.role_claim,
            "--viewer-role": self.viewer_role,
            "--operator-role": self.operator_role,
            "--admin-role": self.admin_role,
            "--proxies": ",".join(self.proxies) or None,
            "--session": str(self.session),
        }
        options = [word for option, value in named.items() if value is not None for word in (option, value)]
        options += [word for name in self.pass_claims for word in ("--pass-claim", name)]
        options += ["--dev-issuer"] if self.dev_issuer else []
        options += [] if self.console else ["--no-console"]
        return options + [word for origin in self.origins for word in ("--allow-origin", origin)]


class TenantConfig(_Strict):
    """One tenant.

    Attributes:
        weight: its part of the workers' time when tenants compete; 2 gets twice as much as 1.
    """

    weight: float = Field(default=1.0, gt=0, le=100, strict=False)


class Environment(_Strict):
    """An environment for promoting images: its data directory, and its server if that runs elsewhere."""

    dir: str = Field(min_length=1)
    url: str | None = None
    creds: str | None = None


class Config(_Strict):
    """The whole file."""

    services: dict[Annotated[str, _token("service")], ServiceConfig] = Field(min_length=1)
    server: ServerConfig = ServerConfig()
    web: WebConfig | None = None
    tenants: dict[Annotated[str, _token("tenant")], TenantConfig] = {}
    environments: dict[Annotated[str, _token("environment")], Environment] = {}

    @model_validator(mode="after")
    def _reached(self) -> Config:
        if self.web is not None and self.web.ws_url is None and self.server.websocket_port is None:
            raise ValueError("browsers cannot reach the server: give server.websocket_port a port, or web.ws_url")
        return self


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of `headway.yaml`, with which editors complete and check it."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "headway.yaml"}


def load(path: Path) -> tuple[Config, YamlDocument]:
    """Read and check `headway.yaml`.

    Returns:
        the configuration, and the parsed document, for showing later problems in it.

    Raises:
        ConfigError: showing every problem with its line.
    """
    document = read(path)
    return _validate(document), document


def loads(text: str, name: str = str(CONFIG_FILE)) -> Config:
    """Check a configuration given as text.

    Raises:
        ConfigError: showing every problem with its line.
    """
    return _validate(parse(name, text))


def _validate(document: YamlDocument) -> Config:
    try:
        return Config.model_validate({} if document.value is None else document.value)
    except ValidationError as error:
        problems = [_problem(document, detail) for detail in error.errors(include_url=False)]
        raise document.error(problems, remedy=_REMEDY) from error


def _problem(document: YamlDocument, detail: ErrorDetails) -> Problem:
    path: ValuePath = tuple(part for part in detail["loc"] if part != "[key]")
    where = ".".join(map(str, path)) or "the file"
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Problem(document.key(path), f"unknown key {path[-1]!r}{_suggest(path)}")
    if kind == "missing":
        place = document.key(path[:-1]) if len(path) > 1 else document.at(())
        return Problem(place, f"{where} is missing")
    if "[key]" in detail["loc"]:
        return Problem(document.key(path), _message(detail))
    if kind == "value_error":
        return Problem(document.at(path), f"{where}: {_message(detail)}")
    return Problem(document.at(path), f"{where} {_must(detail)}, not {_short(detail['input'])}")


def _must(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a mapping"
        case "int_type" | "int_parsing":
            return "must be a whole number"
        case "string_type":
            return "must be text"
        case "literal_error":
            return f"must be one of {context['expected']}"
        case "too_short":
            return "must have at least one entry"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
    return f"does not validate ({detail['msg']})"


def _message(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Value error, ")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _suggest(path: ValuePath) -> str:
    known = list(_model_at(path[:-1]).model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"


def _model_at(path: ValuePath) -> type[BaseModel]:
    """Return the model of the mapping at a path."""
    here: Any = Config
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(part)].annotation
            if isinstance(here, UnionType):
                here = next(one for one in get_args(here) if one is not type(None))
        else:  # a mapping's values, a sequence's items
            here = get_args(here)[1 if get_origin(here) is dict else 0]
    assert isinstance(here, type)
    assert issubclass(here, BaseModel)
    return here
