"""The service of the scale bench: jobs that take a while, and report when they were sent, began and ended."""

from __future__ import annotations

import asyncio
import os
import time

from pydantic import BaseModel

from headway.bus import Context, Service

CONCURRENCY = 4


class Config(BaseModel):
    """The file to report to."""

    log: str


class Work(BaseModel):
    """A job: when it was sent (unix seconds), and how long it takes."""

    sent: float
    seconds: float


worker = Service("bench-scale", config=Config, concurrency=CONCURRENCY, ack_wait=5)


@worker.job("work")
async def work(request: Work, ctx: Context) -> None:
    """Wait as for I/O, then write one line: worker, sent, began, ended."""
    began = time.time()
    await asyncio.sleep(request.seconds)
    line = f"{ctx.worker} {request.sent} {began} {time.time()}\n"
    file = os.open(ctx.config(Config).log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
