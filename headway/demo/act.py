"""The limits of an act: what is not over in time, or fails, is a finding of the demo and never a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headway.bus.errors import HeadwayError
from headway.bus.tasks import leaves


@asynccontextmanager
async def act(what: str, timeout: float, wrong: list[str]) -> AsyncIterator[None]:
    """Run the block as an act. Its end in time, or why it failed, is left in `wrong`.

    The limit only keeps the demo from waiting for ever: a release may need minutes of proof on a slow machine.

    Args:
        what: the act, for the finding: "the burst".
        timeout: time limit in seconds.
        wrong: receives the findings, in words.
    """
    try:
        async with asyncio.timeout(timeout):
            yield
    except* TimeoutError:
        wrong.append(f"{what} was not over after {timeout:g} s")
    except* HeadwayError as failed:
        wrong += [f"{what} ended early: {error}" for error in leaves(failed)]
