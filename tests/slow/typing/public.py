"""The public surface as its users write it. mypy and pyright check it (test_typing.py beside it); it never runs.

`assert_type` says what a type has to be. A `type: ignore` says that a line has to be refused: one too many is an error.
"""

from collections.abc import AsyncIterator
from typing import Any, assert_type

from pydantic import BaseModel

from headway import Bus, Context, Object, RateLimited, Receipt, Reject, Retry, Service, TooLarge, Worker, connect


class Send(BaseModel):
    to: str
    pages: int = 1


class Status(BaseModel):
    state: str


class Config(BaseModel):
    line: str = "a"


class Line:
    async def dial(self, number: str) -> None: ...


fax = Service("fax", config=Config)


@fax.resource
async def line() -> AsyncIterator[Line]:
    yield Line()


@fax.rpc("status", timeout=2)
async def status(request: Send, ctx: Context) -> Status:
    assert_type(ctx.attempt, int)
    assert_type(ctx.remaining(), float | None)
    assert_type(ctx.config(Config), Config)
    assert_type(ctx.resource(line), Line)
    assert_type(await ctx.call("other", "status", request, returns=Status), Status)
    assert_type(await ctx.call("other", "status", request), Any)
    return Status(state="sent")


@fax.job("send", retry=Retry(attempts=3, backoff=(1, 2)))
def send(request: Send) -> None:
    if not request.to:
        raise Reject("no number")


@fax.on("call.ended")
async def ended(event: dict[str, str], ctx: Context) -> None:
    assert_type(await ctx.submit("fax", "send", Send(to="1"), key="order:42"), Receipt)


# A decorated handler keeps its own type.
assert_type(send(Send(to="1")), None)


async def client(bus: Bus) -> None:
    assert_type(await bus.call("fax", "status", None, tenant="acme", returns=int), int)
    assert_type(await bus.emit("call.ended", {}, tenant="acme"), Receipt)
    tenant = bus.tenant("acme")
    try:
        assert_type(await tenant.objects.put("fax", "1", {"state": "sent"}, expect=0), int)
    except RateLimited as error:
        assert_type(error.retry_after, float)
    except TooLarge as error:
        assert_type(error.remedy, str)
    found = await tenant.objects.get("fax", "1", Status)
    assert_type(found, Object[Status] | None)
    assert_type(await tenant.objects.list("fax", Status), list[Object[Status]])
    assert_type(await tenant.blobs.get("1.pdf"), bytes)


async def main() -> None:
    async with await connect() as bus, Worker(fax, bus, version="v1") as worker:
        assert_type(worker, Worker)
        await client(bus)


async def refused(bus: Bus) -> None:
    await bus.call("fax", "status", None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await bus.submit("fax", "send", None, tenant=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Retry(attempts="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
