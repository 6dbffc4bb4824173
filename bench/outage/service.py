"""The service of the outage bench: a call that answers, and a job that writes a line with its key."""

from __future__ import annotations

import os

from pydantic import BaseModel

from headway.bus import Context, Service


class Config(BaseModel):
    """The file to write lines to."""

    log: str


outage = Service("bench-outage", config=Config, ack_wait=5)


@outage.rpc("echo")
async def echo(request: int) -> int:
    """Answer."""
    return request


@outage.job("work")
async def work(key: str, ctx: Context) -> None:
    """Write a line."""
    file = os.open(ctx.config(Config).log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{key}\n".encode())
    finally:
        os.close(file)
