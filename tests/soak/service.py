"""The service under load: calls, jobs and events. A bad version goes wrong once it has traffic."""

from __future__ import annotations

import asyncio
import itertools
import os
import time

import orjson
from pydantic import BaseModel

from headway import Context, Retry, Service


class Config(BaseModel):
    """Attributes: effects: the file that gets a line for each job and event; bad: whether this version is a bad one."""

    effects: str
    bad: bool = False


class Work(BaseModel):
    """A job or an event."""

    key: str


BAD_FROM = 5
"""Calls after which a bad version goes wrong: in its first checks it does well."""

_calls = itertools.count()

chaos = Service("chaos", config=Config, ack_wait=5, concurrency=32)


@chaos.rpc("echo", timeout=5)
async def echo(number: int, ctx: Context) -> dict[str, str | int | bool]:
    """Answer."""
    good = next(_calls) < BAD_FROM or not ctx.config(Config).bad
    return {"number": number, "version": ctx.version, "good": good}


@chaos.job("work", retry=Retry(attempts=1000, backoff=(0.2,)), timeout=30)
async def work(request: Work, ctx: Context) -> None:
    """Leave a line."""
    await _leave("effect", request.key, ctx)


@chaos.on("thing.happened", retry=Retry(attempts=1000, backoff=(0.2,)), timeout=30)
async def happened(request: Work, ctx: Context) -> None:
    """Leave a line."""
    await _leave("heard", request.key, ctx)


async def _leave(op: str, key: str, ctx: Context) -> None:
    """Append one line with a single write(), so that a killed process leaves a whole line or none."""
    began = time.monotonic()
    await asyncio.sleep(0.02)
    fact = {"key": key, "version": ctx.version, "attempt": ctx.attempt, "began": began}
    entry = {"at": time.monotonic(), "process": f"worker-{os.getpid()}", "type": "seen", "op": op, "value": fact}
    file = os.open(ctx.config(Config).effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
    finally:
        os.close(file)
