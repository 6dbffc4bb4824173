"""What both versions make of what is stored: only what one takes and the other refuses counts."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from headway import Service
from headway.bus.worker.validation import Validated, validate
from headway.deployer.rollout.samples import Opinion, Sample, broken

QUEUED = Sample("send", b"{}", queued=True)
LETTER = Sample("send", b"{}", queued=False)
FINE = Validated("", b"{}")
BAD = Validated("amount: too many digits", b"")


def service(model: Any) -> Service:
    made = Service("shop")

    async def handle(request: Any) -> None: ...

    handle.__annotations__["request"] = model
    made.job("send")(handle)
    made.on("order.paid")(handle)
    return made


@pytest.mark.parametrize(
    ("opinion", "said"),
    [
        (Opinion(QUEUED, FINE, FINE, FINE), []),
        (Opinion(QUEUED, BAD, FINE, None), ["send: v2 refuses what v1 takes (queued): amount: too many digits; 1 "]),
        (Opinion(LETTER, BAD, FINE, None), ["send: v2 refuses what v1 takes (dead letter): amount: too many digits"]),
        (Opinion(QUEUED, FINE, FINE, BAD), ["send: v1 would refuse what v2 writes of it (queued): amount: too many"]),
        (Opinion(QUEUED, BAD, BAD, None), []),
        (Opinion(LETTER, BAD, BAD, None), []),
        (Opinion(QUEUED, BAD, None, None), ["send: v2 refuses what v1 takes (queued)"]),
        (Opinion(LETTER, BAD, None, None), []),
    ],
)
def test_what_one_version_takes_and_the_other_refuses_is_named(opinion, said):
    found = broken([opinion], "v2", "v1")
    assert len(found) == len(said)
    assert all(one.startswith(start) for one, start in zip(found, said, strict=True))


def test_equal_problems_are_counted_and_the_most_frequent_named_first():
    other = Opinion(QUEUED, Validated("id: missing", b""), FINE, None)
    found = broken([other, *[Opinion(QUEUED, BAD, FINE, None)] * 3], "v2", "v1")
    assert ["3 such in the sample" in found[0], "1 such in the sample" in found[1]] == [True, True]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    n: int


class Money(BaseModel):
    amount: Annotated[Decimal, Field(decimal_places=2)]


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise RuntimeError("a bug of the validator")
        return value


@pytest.mark.parametrize(
    ("model", "payload", "problem"),
    [
        (Strict, b'{"n": 1}', ""),
        (Strict, b'{"n": "1"}', "n"),
        (Strict, b'{"n": 1, "more": 2}', "more"),
        (Money, b'{"amount": "1.23"}', ""),
        (Money, b'{"amount": "1.234"}', "amount"),
        (Picky, b'{"n": 1}', "RuntimeError"),
        (Picky, b"{", "JSON"),
    ],
)
@pytest.mark.parametrize("operation", ["send", "on-order-paid"])
def test_a_payload_is_read_by_the_services_own_code(model, payload, problem, operation):
    found = validate(service(model), operation, payload)
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)


def test_an_operation_without_a_handler_is_a_problem():
    assert validate(service(Strict), "other", b"{}").problem == "there is no handler for other"
