"""Checks: what a user wants to be true of a new version. Read from one line, asked over the bus or of Prometheus.

call acme.status {"fax": "f1"} -> {"state": "sent"}
query http://prometheus:9090 rate(errors_total{version="v2"}[1m]) < 0.05
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import HeadwayError
from headway.bus.wire import subjects
from headway.bus.wire.codec import encode
from headway.bus.wire.replies import raise_remote
from headway.control.records import CallCheck, Check, QueryCheck
from headway.deployer.errors import BadCheck, CheckFailed
from headway.deployer.evidence import Checked

_FORM: Final = "write `call TENANT.OPERATION {request} -> {expected}` or `query URL PROMQL < NUMBER`"
_CALL: Final = re.compile(r"call\s+([a-z0-9-]+)\.([a-z0-9-]+)(?:\s+(.*?))?(?:\s*->\s*(.+))?", re.DOTALL)
_QUERY: Final = re.compile(r"query\s+(https?://\S+)\s+(.+?)\s*(<=|>=|<|>)\s*(-?[0-9.eE+-]+)", re.DOTALL)
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SHOWN: Final = 120


def parse(text: str) -> Check:
    """Read a check.

    Raises:
        BadCheck: if it is none.
    """
    text = text.strip()
    try:
        if found := _CALL.fullmatch(text):
            tenant, operation, request, expect = found.groups()
            subjects.token(tenant, "tenant")
            subjects.token(operation, "operation")
            return CallCheck(tenant=tenant, operation=operation, request=_json(request), expect=_json(expect))
        if found := _QUERY.fullmatch(text):
            url, query, sense, bound = found.groups()
            return QueryCheck.model_validate({"url": url, "query": query, "sense": sense, "bound": float(bound)})
    except (ValueError, ValidationError, HeadwayError) as error:
        raise BadCheck(f"{text!r} is no check: {error}", remedy=_FORM) from error
    raise BadCheck(f"{text!r} is no check", remedy=_FORM)


def name(check: Check) -> str:
    """What a check is called where its result is shown."""
    if isinstance(check, CallCheck):
        return f"call {check.tenant}.{check.operation}"
    return f"query {check.query} {check.sense} {check.bound:g}"


async def run(bus: Bus, service: str, version: str, check: Check) -> Checked:
    """Run a check; whatever goes wrong with it is a failure of it."""
    try:
        said = await (_call(bus, service, version, check) if isinstance(check, CallCheck) else _query(check))
    except HeadwayError as error:
        return Checked(name(check), ok=False, said=error.message)
    return Checked(name(check), ok=True, said=said)


def meets(expected: Any, found: Any) -> bool:
    """Whether an answer has what is expected: each field of an object, and of lists and plain values the same."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and meets(value, found[key]) for key, value in expected.items())
    return bool(expected == found)


async def _call(bus: Bus, service: str, version: str, check: CallCheck) -> str:
    """Call the version itself, past the routes.

    Raises:
        CallError: if the call brings no result.
        CheckFailed: if it is not the expected one.
    """
    subject = subjects.rpc_endpoint(service, version, check.operation).replace("*", check.tenant)
    reply = await bus.request(subject, encode(check.request), check.timeout, {}, tell=True)
    raise_remote(subject, reply.headers)
    found = orjson.loads(reply.data or b"null")
    if check.expect is not None and not meets(check.expect, found):
        raise CheckFailed(f"answered {_short(found)}, expected was {_short(check.expect)}", remedy="")
    return f"answered {_short(found)}"


async def _query(check: QueryCheck) -> str:
    """Ask Prometheus.

    Raises:
        CheckFailed: if it does not answer with values within the bound.
    """
    import httpx  # here, so that commands which ask nothing of it start quickly

    try:
        async with httpx.AsyncClient(timeout=check.timeout) as client:
            reply = await client.get(f"{check.url.rstrip('/')}/api/v1/query", params={"query": check.query})
            reply.raise_for_status()
            result = reply.json()["data"]
        samples = [result["result"]] if result["resultType"] == "scalar" else [r["value"] for r in result["result"]]
        values = [float(value) for _, value in samples]
    except (httpx.HTTPError, LookupError, ValueError, TypeError) as error:
        raise CheckFailed(f"{check.url} gave no answer: {error!r}", remedy="") from error
    if not values:
        raise CheckFailed(f"{check.url} has no value for it", remedy="")
    wrong = [value for value in values if not _COMPARE[check.sense](value, check.bound)]
    if wrong:
        raise CheckFailed(f"it is {wrong[0]:g}, not {check.sense} {check.bound:g}", remedy="")
    return f"it is {values[0]:g}"


def _json(text: str | None) -> Any:
    return None if text is None or not text.strip() else orjson.loads(text)


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
