"""How many workers: observe, decide, act through a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import lazy

if TYPE_CHECKING:
    from headway.scaler.controller import Scaler
    from headway.scaler.drivers.docker.driver import DockerDriver
    from headway.scaler.drivers.driver import Driver, Launch
    from headway.scaler.drivers.process.driver import ProcessDriver
    from headway.scaler.lag import LagReader, Lags
    from headway.scaler.restarts import Restarts, RestartVerdict

__all__ = [
    "DockerDriver",
    "Driver",
    "LagReader",
    "Lags",
    "Launch",
    "ProcessDriver",
    "RestartVerdict",
    "Restarts",
    "Scaler",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "controller": ("Scaler",),
            "drivers.docker.driver": ("DockerDriver",),
            "drivers.driver": ("Driver", "Launch"),
            "drivers.process.driver": ("ProcessDriver",),
            "lag": ("LagReader", "Lags"),
            "restarts": ("RestartVerdict", "Restarts"),
        },
    )
