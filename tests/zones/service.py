"""The service that is under load: a call that tells who answered, and a job that leaves a line in the history."""

from __future__ import annotations

import asyncio
import os
import time

import orjson
from pydantic import BaseModel

from headway import Context, Retry, Service


class Config(BaseModel):
    """Attributes: effects: the file with the lines; early: whether jobs are acknowledged before their effect."""

    effects: str
    early: bool = False


class Work(BaseModel):
    """A job."""

    key: str


chaos = Service("chaos", config=Config, ack_wait=3, concurrency=16)


@chaos.rpc("echo", timeout=5)
async def echo(number: int, ctx: Context) -> dict[str, str | int]:
    """Answer."""
    return {"number": number, "version": ctx.version}


# What dies says nothing of a message: far more attempts than there are faults.
@chaos.job("work", retry=Retry(attempts=1000, backoff=(0.2,)), timeout=30)
async def work(request: Work, ctx: Context) -> None:
    """Leave a line, when a little time has passed: so there is always something in hand."""
    began, config = time.monotonic(), ctx.config(Config)
    fact: dict[str, object] = {"key": request.key, "version": ctx.version, "attempt": ctx.attempt, "began": began}
    if config.early:
        asyncio.get_running_loop().call_later(1.0, _leave, config.effects, fact)
        return
    await asyncio.sleep(0.05)
    _leave(config.effects, fact)


def _leave(path: str, fact: dict[str, object]) -> None:
    """One write(): what is written stays written when the process is killed, and is never half a line."""
    entry = {"at": time.monotonic(), "process": f"worker-{os.getpid()}", "type": "seen", "op": "effect", "value": fact}
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
    finally:
        os.close(file)
