"""`headway rollout pause`."""

from __future__ import annotations

from headway.commands.rollout.steer import steering
from headway.deployer.rollout import requests

pause = steering("pause", "Hold the rollout where it is. It can still be rolled back.", "pausing", requests.pause)
