"""Checks: conditions of a user on a new version, written in one line. They use the bus, Prometheus or HTTP.

    call acme.status {"fax": "f1"} -> {"state": "sent"}
    query http://prometheus:9090 sum(rate(errors_total{version="{version}"}[1m])) < 0.05
    http http://fax-{version}.example/health -> 200

A check is good, bad or unknown. Unknown means that there is no result: Prometheus does not answer, or has no value.
It never takes a release back; a step waits for it as long as its patience lasts.
"""

from __future__ import annotations

import asyncio
import math
import operator
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from pydantic import ValidationError

from headway.bus.client.bus import Bus
from headway.bus.errors import ConnectionFailed, HeadwayError
from headway.bus.wire import subjects
from headway.bus.wire.codec import encode
from headway.bus.wire.replies import raise_remote
from headway.control.records import CallCheck, Check, HttpCheck, QueryCheck
from headway.deployer.errors import BadCheck, CheckFailed, CheckUnknown
from headway.deployer.evidence import Checked

VERSION: Final = "{version}"
"""Placeholder of the version in checks over HTTP."""
_FORM: Final = (
    "write `call TENANT.OPERATION {request} -> {expected}`, `query URL PROMQL < NUMBER` or `http URL -> STATUS`"
)
_CALL: Final = re.compile(r"call\s+([a-z0-9-]+)\.([a-z0-9-]+)(?:\s+(.*?))?(?:\s*->\s*(.+))?", re.DOTALL)
_QUERY: Final = re.compile(r"query\s+(https?://\S+)\s+(.+?)\s*(<=|>=|<|>)\s*(-?[0-9.eE+-]+)", re.DOTALL)
_HTTP: Final = re.compile(r"http\s+(https?://\S+)(?:\s*->\s*(\d{3}))?")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SHOWN: Final = 120


def parse(text: str) -> Check:
    """Parse a check.

    Raises:
        BadCheck: if it is not one.
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
        if found := _HTTP.fullmatch(text):
            return HttpCheck.model_validate({"url": found[1], "status": found[2]})
    except (ValueError, ValidationError, HeadwayError) as error:
        raise BadCheck(f"{text!r} is not a check: {error}", remedy=_FORM) from error
    raise BadCheck(f"{text!r} is not a check", remedy=_FORM)


def name(check: Check) -> str:
    """Return the name of a check for its result."""
    if isinstance(check, CallCheck):
        return f"call {check.tenant}.{check.operation}"
    if isinstance(check, HttpCheck):
        return f"http {check.url}"
    return f"query {check.query} {check.sense} {check.bound:g}"


async def run(bus: Bus, service: str, version: str, before: str | None, check: Check) -> Checked:
    """Run a check on a version. An unknown result is neither good nor bad.

    A check over HTTP whose text has `{version}` is run on the previous version as well, at the same time. What is bad
    at both is not the new version's fault, so it counts as unknown.

    Args:
        bus: a connection in the control or operator role.
        service: name of the service.
        version: the version to check.
        before: the previous version, if it has traffic.
        check: the check.
    """
    if isinstance(check, CallCheck):
        return Checked(name(check), *await _outcome(_call(bus, service, version, check)))
    if before is None or VERSION not in check.text:
        return Checked(name(check), *await _asked(check, version))
    (ok, said), (fine, other) = await asyncio.gather(_asked(check, version), _asked(check, before))
    if ok is False and fine is False:
        return Checked(name(check), None, f"{said}; it is no better at {before}: {other}")
    if ok is None and fine is True and isinstance(check, HttpCheck):
        return Checked(name(check), False, f"{said}; {before} answers")
    return Checked(name(check), ok, said)


def meets(expected: Any, found: Any) -> bool:
    """Return whether an answer matches: all fields of an expected object; lists and plain values exactly."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and meets(value, found[key]) for key, value in expected.items())
    return bool(expected == found)


async def _call(bus: Bus, service: str, version: str, check: CallCheck) -> str:
    """Call the version directly, bypassing the routes.

    Raises:
        CallError: if the call brings no result.
        ConnectionFailed: without a connection, which says nothing about the version.
        CheckFailed: if the reply is not the expected one.
    """
    subject = subjects.rpc_endpoint(service, version, check.operation).replace("*", check.tenant)
    reply = await bus.request(subject, encode(check.request), check.timeout, {}, tell=True)
    raise_remote(subject, reply.headers)
    found = orjson.loads(reply.data or b"null")
    if check.expect is not None and not meets(check.expect, found):
        raise CheckFailed(f"answered {_short(found)}, expected was {_short(check.expect)}", remedy="")
    return f"answered {_short(found)}"


async def _outcome(asking: Coroutine[Any, Any, str]) -> tuple[bool | None, str]:
    """Return whether a check is good, and its explanation; None if unknown."""
    try:
        return True, await asking
    except (CheckUnknown, ConnectionFailed) as error:
        return None, error.message
    except HeadwayError as error:
        return False, error.message


async def _asked(check: QueryCheck | HttpCheck, version: str) -> tuple[bool | None, str]:
    return await _outcome(_query(check, version) if isinstance(check, QueryCheck) else _http(check, version))


async def _query(check: QueryCheck, version: str) -> str:
    """Query Prometheus.

    Raises:
        CheckFailed: if a value is out of bounds.
        CheckUnknown: if there is no answer, no value, or a value that is not a number, such as 0/0.
    """
    import httpx  # imported here, so that other commands start quickly

    query = check.query.replace(VERSION, version)
    try:
        async with asyncio.timeout(check.timeout), httpx.AsyncClient(timeout=check.timeout) as client:
            reply = await client.get(f"{check.url.rstrip('/')}/api/v1/query", params={"query": query})
            reply.raise_for_status()
            result = reply.json()["data"]
        samples = [result["result"]] if result["resultType"] == "scalar" else [r["value"] for r in result["result"]]
        values = [float(value) for _, value in samples]
    except (httpx.HTTPError, TimeoutError, LookupError, ValueError, TypeError) as error:
        raise CheckUnknown(f"{check.url} gave no answer: {error!r}", remedy="") from error
    if not values:
        raise CheckUnknown(f"{check.url} has no value for it", remedy="")
    if any(map(math.isnan, values)):
        raise CheckUnknown("its value is not a number: nothing was counted yet", remedy="")
    wrong = [value for value in values if not _COMPARE[check.sense](value, check.bound)]
    if wrong:
        raise CheckFailed(f"it is {wrong[0]:g}, not {check.sense} {check.bound:g}", remedy="")
    return f"it is {values[0]:g}"


async def _http(check: HttpCheck, version: str) -> str:
    """Get a page.

    Raises:
        CheckFailed: if its status is not the expected one.
        CheckUnknown: without an answer.
    """
    import httpx  # as above

    url = check.url.replace(VERSION, version)
    try:
        async with asyncio.timeout(check.timeout), httpx.AsyncClient(timeout=check.timeout) as client:
            status = (await client.get(url)).status_code
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise CheckUnknown(f"{url} gave no answer: {error!r}", remedy="") from error
    good = status == check.status if check.status is not None else 200 <= status < 300
    if not good:
        expected = "a status of 200 to 299" if check.status is None else check.status
        raise CheckFailed(f"{url} answered {status}, expected was {expected}", remedy="")
    return f"{url} answered {status}"


def _json(text: str | None) -> Any:
    return None if text is None or not text.strip() else orjson.loads(text)


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
