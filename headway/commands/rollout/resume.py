"""`headway rollout resume`."""

from __future__ import annotations

from headway.commands.rollout.steer import steering
from headway.deployer.rollout import requests

resume = steering("resume", "Continue after a pause.", "resuming", requests.resume)
