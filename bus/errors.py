"""Every error Headway raises, as one small tree.

    HeadwayError
    ├── UsageError              the program or its input is wrong; retrying does not help
    │   ├── InvalidSubject      a token or subject breaks the grammar (bus/wire/subjects.py)
    │   ├── DeclarationError    a handler, service or policy is declared wrongly
    │   └── ConfigError         configuration does not validate
    ├── ConnectionFailed        no server was reached, or it refused the connection
    ├── CallError               a call returned no result
    │   ├── NotServed           no worker serves the subject               404
    │   ├── InvalidInput        the request does not validate              400
    │   ├── Rejected            the handler refused it for good            422
    │   ├── Overloaded          the worker is at its in-flight limit       503
    │   ├── Unavailable         a dependency of the handler is down        503
    │   ├── DeadlineExceeded    no answer in time                          504
    │   └── RemoteError         the handler failed                         500
    ├── StoreError              JetStream refused a read or a write
    │   ├── QueueFull           the stream's bound is reached
    │   ├── TooLarge            the object or request is larger than allowed
    │   ├── RateLimited         the tenant is over its rate
    │   ├── NotStored           no acknowledgement within the time given
    │   ├── Conflict            compare-and-set: another writer was first
    │   ├── MissingStream       a stream, bucket or consumer does not exist
    │   ├── NotFound            the requested item is not stored
    │   └── DeclarationDrift    a stream or consumer cannot be changed to its declaration
    ├── BrokerError             starting, identifying or routing the server failed (broker/)
    └── Reject                  raised by a handler to refuse a message for good

A handler raises `Reject`; its caller sees `Rejected`. Status numbers follow HTTP, as NATS micro
(ADR-32) error codes do.
"""

from __future__ import annotations

from typing import ClassVar


class HeadwayError(Exception):
    """Base class of all errors. `str()` says what is wrong and what to do.

    Args:
        message: what happened, with the names and numbers that matter.
        remedy: what to do about it; replaces the class's own remedy.
    """

    code: ClassVar[str] = "headway"
    """A stable identifier, for programs."""
    status: ClassVar[int] = 500
    """The number that travels in `Nats-Service-Error-Code`."""
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = self.default_remedy if remedy is None else remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


def text_of(error: BaseException) -> str:
    """Return an exception's text, or the name of its type if it has none."""
    try:
        return str(error) or type(error).__name__
    except Exception as failure:
        return f"{type(error).__name__}, whose str() raised {type(failure).__name__}"


class UsageError(HeadwayError):
    """The program or its input is wrong; the same call can never succeed."""

    code = "usage"
    status = 400


class InvalidSubject(UsageError):
    """A tenant, service, operation, event type or id does not follow the subject grammar."""

    code = "invalid_subject"
    default_remedy = "use lower-case letters, digits and '-', at most 63 characters, starting with a letter or digit"


class DeclarationError(UsageError):
    """A handler, service or policy is declared in a way that cannot work."""

    code = "declaration"


class ConfigError(UsageError):
    """A configuration file, variable or option does not validate."""

    code = "config"


class ConnectionFailed(HeadwayError):
    """The server cannot be reached or refused the credentials, or the connection is closed."""

    code = "connection_failed"
    status = 503
    default_remedy = "check that the server runs (`headway status`), and check HEADWAY_NATS_URL and HEADWAY_NATS_CREDS"


class CallError(HeadwayError):
    """A call returned no result. `retryable` says whether the same call may succeed later."""

    code = "call"
    retryable: ClassVar[bool] = False


class NotServed(CallError):
    """No worker serves this subject: no such service or operation, no route, or no worker up."""

    code = "not_served"
    status = 404
    retryable = True
    default_remedy = "check the names, and `headway status` for workers and routes"


class InvalidInput(CallError):
    """The message does not validate against the handler's type."""

    code = "invalid_input"
    status = 400
    default_remedy = "send what the handler's schema asks for (`headway docs`)"


class Rejected(CallError):
    """The handler refused the message for good (it raised `Reject`)."""

    code = "rejected"
    status = 422


class Overloaded(CallError):
    """The worker is at its in-flight limit and sheds load at once.

    Attributes:
        retry_after: seconds after which to try again.
    """

    code = "overloaded"
    status = 503
    retryable = True
    default_remedy = "try again after a moment, or run more workers"
    retry_after: float = 0.25


class Unavailable(CallError):
    """The handler could not reach the store or another service. Repeat the call if it is safe to repeat."""

    code = "unavailable"
    status = 503
    retryable = True
    default_remedy = "try again after a moment; its worker's log says what does not answer"


class DeadlineExceeded(CallError):
    """No answer before the deadline."""

    code = "deadline_exceeded"
    status = 504
    retryable = True
    default_remedy = "allow more time, or find what is slow with `headway status`"


class RemoteError(CallError):
    """The handler failed. The details are in the worker's log.

    Attributes:
        error_id: identifies the log entry; empty if the worker sent none.
    """

    code = "remote_error"
    status = 500
    default_remedy = "find the error id in the worker's log"
    error_id: str = ""


class StoreError(HeadwayError):
    """JetStream refused a read or a write."""

    code = "store"


class QueueFull(StoreError):
    """The stream is full: the server refused the message and stored nothing."""

    code = "queue_full"
    status = 503
    default_remedy = "wait until workers have caught up, or raise the stream's bounds"


class TooLarge(StoreError):
    """An object or a request is larger than allowed; nothing was stored."""

    code = "too_large"
    status = 413
    default_remedy = "store large data as a blob and name it in the object"


class RateLimited(StoreError):
    """A tenant is over its rate; nothing was stored.

    Attributes:
        retry_after: seconds after which the tenant may try again.
    """

    code = "rate_limited"
    status = 429
    default_remedy = "try again after a moment"

    def __init__(self, message: str, *, remedy: str | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class NotStored(StoreError):
    """No acknowledgement in time: the message may or may not be stored. Repeat with the same key."""

    code = "not_stored"
    status = 504
    default_remedy = "repeat with the same key: the server stores it once"


class Conflict(StoreError):
    """Compare-and-set failed: another writer has changed the value since it was read."""

    code = "conflict"
    status = 409
    default_remedy = "read it again and retry"


class MissingStream(StoreError):
    """A stream or bucket that should exist does not."""

    code = "missing_stream"
    status = 404
    default_remedy = "start the installation with `headway up`, which creates the shared streams"


class NotFound(StoreError):
    """The requested item is not stored."""

    code = "not_found"
    status = 404


class DeclarationDrift(StoreError):
    """A stream or consumer exists with settings that cannot be changed to the declared ones."""

    code = "declaration_drift"
    default_remedy = "drain and delete it, or change the declaration to match it"


class BrokerError(HeadwayError):
    """Starting, identifying or routing the NATS server failed. Subclasses live in broker/errors.py."""

    code = "broker"


class Reject(HeadwayError):
    """Raise this in a handler to refuse a message for good: a call answers 422, a job is dead-lettered at once.

    Args:
        message: the reason, which is sent to the caller.
    """

    code = "rejected"
    status = 422
