"""`headway rollout abort`."""

from __future__ import annotations

from headway.commands.rollout.steer import steering
from headway.deployer.rollout import requests

abort = steering("abort", "Send traffic and queued jobs back to the previous version.", "aborting", requests.abort)
