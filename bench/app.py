"""The service of the fairness and memory benches, run by `headway.bus.worker.runner.main` like `headway worker`."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import orjson
from pydantic import BaseModel

from bench.message import SERVICE, Order
from headway.bus import Context, Service
from headway.bus.worker.runner import main

LONG: Final = 10
"""How many times as long a job `long` takes as others."""


class Settings(BaseModel):
    """How the handlers behave."""

    work_s: float = 0.0


class Probe(BaseModel):
    """A job that carries the time of its submission."""

    sent: float
    """`time.perf_counter()` of the submitter; all processes of one machine share that clock."""


app = Service(SERVICE, config=Settings)


@app.job("send")
async def send(_order: Order, ctx: Context) -> None:
    """One job of the flood."""
    await asyncio.sleep(ctx.config(Settings).work_s)


@app.job("long")
async def long(_order: Order, ctx: Context) -> None:
    """Handle a job of a tenant whose jobs take longer than others."""
    await asyncio.sleep(LONG * ctx.config(Settings).work_s)


@app.job("probe")
async def probe(request: Probe, ctx: Context) -> None:
    """Handle a job of the quiet tenant: do the same work, then report its latency since submission."""
    await asyncio.sleep(ctx.config(Settings).work_s)
    took = {"tenant": ctx.tenant, "took": time.perf_counter() - request.sent}
    await ctx.bus.publish(f"{SERVICE}.took", orjson.dumps(took))


if __name__ == "__main__":
    sys.exit(main("bench.app:app", url=sys.argv[1], config={"work_s": float(sys.argv[2])}))
