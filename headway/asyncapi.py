"""An AsyncAPI 3 document of a service, made from its declared handlers. A pure function: no server, no worker.

The service is the application described, so its operations are all `receive`: a call is received and replied to,
a job or an event is received. Clients of the service send what it receives.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and the NATS binding 0.1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from headway.bus.handlers import Handler, Kind
from headway.bus.service import Service
from headway.bus.wire import headers, subjects

SPECIFICATION: Final = "3.0.0"
JsonObject = dict[str, Any]

_TENANT: Final = {"description": "The tenant; the sender's credentials must allow it."}
_HEADERS: Final[dict[str, JsonObject]] = {
    headers.TIMEOUT: {
        "type": "string",
        "pattern": "^[0-9]{1,15}$",
        "description": "Time limit of the caller, in milliseconds from sending.",
    },
    headers.MESSAGE_ID: {
        "type": "string",
        "description": "Idempotency key: messages with the same id within two minutes are stored once.",
    },
    headers.TRACEPARENT: {"type": "string", "description": "W3C trace context."},
}
_SENT_WITH: Final = {
    Kind.RPC: (headers.TIMEOUT, headers.TRACEPARENT),
    Kind.JOB: (headers.MESSAGE_ID, headers.TRACEPARENT),
    Kind.EVENT: (headers.MESSAGE_ID, headers.TRACEPARENT),
}
_ERROR_MESSAGE: Final[JsonObject] = {
    "name": "error",
    "title": "The call failed",
    "summary": "An empty payload; the headers hold the error (NATS micro, ADR-32).",
    "contentType": "application/json",
    "headers": {
        "type": "object",
        "required": [headers.SERVICE_ERROR, headers.SERVICE_ERROR_CODE],
        "properties": {
            headers.SERVICE_ERROR: {"type": "string", "description": "What is wrong."},
            headers.SERVICE_ERROR_CODE: {
                "type": "string",
                "enum": ["400", "404", "422", "500", "503", "504"],
                "description": "The kind of error, as an HTTP status.",
            },
            headers.ERROR: {"type": "string", "description": "The code of Headway's error class."},
            headers.ERROR_ID: {"type": "string", "description": "Finds the worker's log line of a 500."},
        },
    },
}


def document(service: Service, *, version: str = "v1", url: str | None = None) -> JsonObject:
    """Describe a service.

    Args:
        service: the service; only its declarations are used.
        version: its version, for the document.
        url: host and port of its server, such as `127.0.0.1:4222`; the document names none by default.

    Returns:
        the document as plain JSON values.
    """
    schemas = _Schemas(service.handlers)
    channels: dict[str, JsonObject] = {}
    operations: dict[str, JsonObject] = {}
    messages: dict[str, JsonObject] = {}
    for handler in service.handlers:
        name = f"{handler.kind.value}.{handler.name}"
        request = f"{name}.request"
        messages[request] = {
            "name": request,
            "contentType": "application/json",
            "headers": _headers_of(handler.kind),
            "payload": schemas.input(handler),
        }
        channels[name] = {
            "address": _address(service, handler),
            "messages": {"request": {"$ref": f"#/components/messages/{request}"}},
            "parameters": {"tenant": {"$ref": "#/components/parameters/tenant"}},
        }
        operations[name] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/request"}],
            **_prose(handler),
            "bindings": {"nats": {"queue": _queue(service, handler, version), "bindingVersion": "0.1.0"}},
            "x-headway-timeout-seconds": handler.timeout,
        }
        if handler.kind is Kind.RPC:
            reply = f"{name}.reply"
            messages[reply] = {"name": reply, "contentType": "application/json", "payload": schemas.output(handler)}
            messages["error"] = _ERROR_MESSAGE
            channels[reply] = {
                "address": None,
                "description": "The reply subject of the request.",
                "messages": {
                    "reply": {"$ref": f"#/components/messages/{reply}"},
                    "error": {"$ref": "#/components/messages/error"},
                },
            }
            operations[name]["reply"] = {
                "channel": {"$ref": f"#/channels/{reply}"},
                "messages": [
                    {"$ref": f"#/channels/{reply}/messages/reply"},
                    {"$ref": f"#/channels/{reply}/messages/error"},
                ],
            }
        else:
            operations[name]["x-headway-retry"] = {
                "attempts": handler.retry.attempts,
                "backoff-seconds": list(handler.retry.backoff),
            }
    return {
        "asyncapi": SPECIFICATION,
        "info": {"title": service.name, "version": version, **_description(service.description)},
        "defaultContentType": "application/json",
        **({"servers": {"nats": {"host": url, "protocol": "nats"}}} if url else {}),
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "parameters": {"tenant": _TENANT},
            **({"schemas": schemas.definitions} if schemas.definitions else {}),
        },
    }


class _Schemas:
    """Return the JSON schemas of all handlers; equal models share one definition."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
        for handler in handlers:
            wanted.append((_key(handler), "validation", handler.input.adapter))
            wanted.append((_key(handler), "serialization", handler.output.adapter))
        self._schemas, shared = TypeAdapter.json_schemas(wanted, ref_template="#/components/schemas/{model}")
        self.definitions: dict[str, JsonObject] = shared.get("$defs", {})

    def input(self, handler: Handler) -> JsonObject:
        return self._schemas[_key(handler), "validation"]

    def output(self, handler: Handler) -> JsonObject:
        return self._schemas[_key(handler), "serialization"]


def _key(handler: Handler) -> str:
    return f"{handler.kind.value}.{handler.name}"


def _address(service: Service, handler: Handler) -> str:
    # The subject functions accept no placeholder, so a valid tenant is used and then replaced.
    match handler.kind:
        case Kind.RPC:
            return subjects.rpc(service.name, "0", handler.name).replace(".0.", ".{tenant}.")
        case Kind.JOB:
            return subjects.job(service.name, "0", handler.name).replace(".0.", ".{tenant}.")
        case Kind.EVENT:
            return subjects.event("0", handler.name).replace(".0.", ".{tenant}.", 1)


def _queue(service: Service, handler: Handler, version: str) -> str:
    """Return the bindings that distribute messages: a queue group for calls, durable consumers for jobs and events."""
    return service.name if handler.kind is Kind.EVENT else subjects.queue_group(service.name, version)


def _headers_of(kind: Kind) -> JsonObject:
    return {"type": "object", "properties": {name: _HEADERS[name] for name in _SENT_WITH[kind]}}


def _prose(handler: Handler) -> JsonObject:
    first, _, rest = handler.doc.partition("\n")
    summary = {"summary": first} if first else {}
    return {**summary, **_description(rest.strip())}


def _description(text: str) -> JsonObject:
    return {"description": text} if text else {}
