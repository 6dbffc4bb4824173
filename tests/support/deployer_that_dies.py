"""A deployer in a process of its own that kills or freezes itself at one transition: `PHASE before|after KILL|STOP`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from headway.broker.broker import Broker
from headway.bus.telemetry import logs
from headway.control.records import RolloutRecord
from headway.deployer.rollout.deployer import Deployer
from headway.deployer.rollout.plan import RolloutPlan


class Dying(Deployer):
    at = moment = number = ""

    async def _act(self, record: RolloutRecord, made: RolloutPlan) -> RolloutRecord:
        phase = "back" if made.first else record.phase
        mine = phase == self.at and made.then.phase != record.phase
        if mine and self.moment == "before":
            os.kill(os.getpid(), getattr(signal, f"SIG{self.number}"))
        then = await super()._act(record, made)
        if mine and self.moment == "after" and then.phase == made.then.phase:
            os.kill(os.getpid(), getattr(signal, f"SIG{self.number}"))
        return then


async def main(url: str, directory: str, at: str, moment: str, number: str) -> None:
    logs.configure("INFO")
    Dying.at, Dying.moment, Dying.number = at, moment, number

    async def proven(_record, _new, _old) -> None:
        pass

    broker = Broker.external(url, dir=Path(directory))
    async with await broker.connect("control") as bus:
        await Dying(bus, broker, holder="dying", prove=proven, period=0.1, ttl=1.0).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
