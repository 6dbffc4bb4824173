"""Translate refusals of JetStream and errors of nats-py into Headway's errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum
from typing import Any, Final

import nats.errors
from nats.js.errors import (
    APIError,
    NotFoundError,
    ObjectDeletedError,
    ObjectNotFoundError,
    ServiceUnavailableError,
)

from headway.bus.errors import (
    Conflict,
    ConnectionFailed,
    HeadwayError,
    InvalidInput,
    MissingStream,
    NotFound,
    NotServed,
    NotStored,
    QueueFull,
    StoreError,
    TooLarge,
)

UNAVAILABLE: Final = 503
"""The HTTP-like `code` of a temporary refusal: no leader, or JetStream is starting."""


class JsCode(IntEnum):
    """The JetStream error codes that Headway handles (`err_code`; nats-server, server/errors.json)."""

    NO_PEERS = 10005
    NO_LEADER = 10008
    CONSUMER_NOT_FOUND = 10014
    NO_RESOURCES = 10023
    TOO_MANY_CONSUMERS = 10026
    NO_MESSAGE = 10037
    NOT_ENABLED = 10039
    SEQUENCE_NOT_FOUND = 10043
    NO_STORAGE = 10047
    TOO_LARGE = 10054
    DELETE_FAILED = 10057
    STREAM_NOT_FOUND = 10059
    WRONG_LAST_SEQUENCE = 10071
    TOO_FEW_SERVERS = 10074
    STORE_FAILED = 10077
    IN_PROCESS = 10158
    """The same message is being replicated."""
    WRITE_IN_PROCESS = 10164
    """Another write to the subject is being replicated, so the expected revision will not match."""


CONFLICTS: Final = frozenset({JsCode.WRONG_LAST_SEQUENCE, JsCode.WRITE_IN_PROCESS})
FULL: Final = frozenset({JsCode.STORE_FAILED, JsCode.NO_STORAGE, JsCode.NO_RESOURCES})
GONE: Final = frozenset({JsCode.NO_MESSAGE, JsCode.SEQUENCE_NOT_FOUND, JsCode.DELETE_FAILED})
"""The message to read or delete does not exist."""
TOO_FEW: Final = frozenset({JsCode.NO_PEERS, JsCode.TOO_FEW_SERVERS})


def refusal(what: str, said: Mapping[str, Any]) -> StoreError:
    """Return the error for a refusal, such as the `error` of a JetStream answer.

    Args:
        what: the request, for the message.
        said: the refusal's `code`, `err_code` and `description`.
    """
    code, description = said.get("err_code"), str(said.get("description") or "refused without a reason")
    message = f"{what}: {description}"
    if code == JsCode.STREAM_NOT_FOUND:
        return MissingStream(message)
    if code in CONFLICTS:
        return Conflict(message)
    if code == JsCode.NO_MESSAGE:
        return NotFound(message)
    if code == JsCode.IN_PROCESS:
        return NotStored(message)
    if code == JsCode.TOO_LARGE:
        return TooLarge(message, remedy="store large data as a blob and send its name")
    return QueueFull(message) if is_full(code, description) else StoreError(message)


def is_full(code: int | None, description: str | None) -> bool:
    """Return whether a refusal says that a bound is reached.

    Such a refusal has the status of a temporary one, but lasts. Some bounds have no code of their own: "maximum
    messages exceeded", "maximum bytes exceeded".
    """
    return code in FULL or (code != JsCode.TOO_LARGE and "maximum" in (description or ""))


def translate(error: BaseException, what: str) -> HeadwayError:
    """Return Headway's error for one that nats-py raised during a JetStream request.

    Args:
        error: a nats-py error, or a `TimeoutError`.
        what: the request, for the message.
    """
    if isinstance(error, HeadwayError):
        return error
    if isinstance(error, APIError) and not nobody_answers(error):
        return refusal(what, {"code": error.code, "err_code": error.err_code, "description": error.description})
    return ConnectionFailed(f"{what}: no answer from JetStream: {error!r}")


def nobody_answers(error: APIError) -> bool:
    """Return whether no server answered for JetStream. nats-py creates this error itself, so it has no code."""
    return isinstance(error, ServiceUnavailableError) and error.err_code is None


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Translate nats-py's errors of core NATS in the block, except a `TimeoutError`.

    Args:
        what: the subject or request, for the message.

    Raises:
        NotServed: if a request has no subscriber.
        InvalidInput: if the payload is larger than the server accepts.
        ConnectionFailed: if the connection is closed, or interrupted for so long that its buffer is full.
    """
    try:
        yield
    except TimeoutError:
        raise
    except nats.errors.NoRespondersError as error:
        raise NotServed(f"nobody serves {what}") from error
    except nats.errors.MaxPayloadError as error:
        raise InvalidInput(f"{what}: {error}") from error
    except nats.errors.Error as error:
        raise ConnectionFailed(f"{what}: {error}") from error


@asynccontextmanager
async def asking(what: str, timeout: float) -> AsyncIterator[None]:
    """Limit the time of JetStream requests in the block, and translate their errors.

    Args:
        what: the request, for the message.
        timeout: seconds.

    Raises:
        StoreError: one of its kinds, if JetStream refuses.
        ConnectionFailed: without an answer in time.
    """
    try:
        async with asyncio.timeout(timeout):
            yield
    except (TimeoutError, nats.errors.Error) as error:
        raise translate(error, what) from error


@asynccontextmanager
async def asking_blobs(bucket: str, key: str, timeout: float) -> AsyncIterator[None]:
    """Limit the time of requests for a blob, and translate their errors, as `asking` does.

    Args:
        bucket: name of the bucket.
        key: name of the blob.
        timeout: seconds.

    Raises:
        NotFound: if there is no such blob.
        MissingStream: if there is no such bucket.
        StoreError, ConnectionFailed: as `asking`.
    """
    async with asking(f"blob {key}", timeout):
        try:
            yield
        except (ObjectNotFoundError, ObjectDeletedError) as error:
            raise NotFound(f"there is no blob {key}") from error
        except (NotFoundError, nats.errors.NoRespondersError) as error:
            raise MissingStream(f"the bucket {bucket} does not exist") from error


def is_gone(error: HeadwayError) -> bool:
    """Return whether a translated error says that the message to read or delete does not exist."""
    return isinstance(error.__cause__, APIError) and error.__cause__.err_code in GONE


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error of connecting comes from the network, the server or nats-py, not from a bug."""
    return isinstance(error, (OSError, nats.errors.Error))
