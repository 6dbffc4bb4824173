"""The service of the shift bench: a call that says which version answers, a job that reports once it is done."""

from __future__ import annotations

import os

from pydantic import BaseModel

from headway.bus import Context, Service


class Config(BaseModel):
    """The file to report to."""

    log: str


class Number(BaseModel):
    """The name of this version."""

    n: int = 0


service = Service("bench-shift", config=Config, ack_wait=5)


@service.rpc("who", timeout=5)
async def who(_request: Number, ctx: Context) -> str:
    """Return the version that answers."""
    return ctx.version


@service.job("work")
async def work(request: Number, ctx: Context) -> None:
    """Write one line: the number and the version."""
    file = os.open(ctx.config(Config).log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{request.n} {ctx.version}\n".encode())
    finally:
        os.close(file)
