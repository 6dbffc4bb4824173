"""`headway.yaml`: what runs here. Unknown keys are refused, and every error shows its line.

    services:
      fax:
        app: services.fax:fax     # module:variable of the Service
        version: v1
        workers: 2
        config: {}                # frozen with the version, checked by the service's own model
    server:
      port: 4222
      websocket_port: 4280
      store: .headway
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from bus import subjects
from bus.errors import HeadwayError
from headway.yamlfile import Document, Path_, Problem, parse, read

DEFAULT_FILE: Final = Path("headway.yaml")
DEFAULT_STORE: Final = Path(".headway")
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
        raise ValueError(f"{value!r} is not module:variable, such as services.fax:fax")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServiceConfig(_Strict):
    """One service: where its code is, which version this is, how many workers run it."""

    app: Annotated[str, AfterValidator(_check_app)]
    version: Annotated[str, _token("version")] = DEFAULT_VERSION
    workers: int = Field(default=1, ge=0, le=_MAX_WORKERS)
    config: dict[str, Any] = {}


class ServerConfig(_Strict):
    """The embedded nats-server. Port 0 takes a free one; `websocket_port: null` switches WebSocket off."""

    port: int = Field(default=4222, ge=0, le=65535)
    websocket_port: int | None = Field(default=4280, ge=0, le=65535)
    store: str = str(DEFAULT_STORE)


class Config(_Strict):
    """The whole file."""

    services: dict[Annotated[str, _token("service")], ServiceConfig] = Field(min_length=1)
    server: ServerConfig = ServerConfig()


def load(path: Path) -> tuple[Config, Document]:
    """Read and check `headway.yaml`.

    Returns:
        the configuration, and the document, to show later problems in it.

    Raises:
        ConfigError: showing every problem with its line.
    """
    document = read(path)
    return _validate(document), document


def loads(text: str, name: str = str(DEFAULT_FILE)) -> Config:
    """Check a configuration given as text.

    Raises:
        ConfigError: showing every problem with its line.
    """
    return _validate(parse(name, text))


def _validate(document: Document) -> Config:
    try:
        return Config.model_validate({} if document.value is None else document.value)
    except ValidationError as error:
        problems = [_problem(document, detail) for detail in error.errors(include_url=False)]
        raise document.error(problems, remedy=_REMEDY) from error


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    path: Path_ = tuple(part for part in detail["loc"] if part != "[key]")
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


def _suggest(path: Path_) -> str:
    match path:
        case ("services", _, _):
            known = list(ServiceConfig.model_fields)
        case ("server", _):
            known = list(ServerConfig.model_fields)
        case _:
            known = list(Config.model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"
