"""`headway rollout promote`."""

from __future__ import annotations

from headway.commands.rollout.steer import steering
from headway.deployer.rollout import requests

promote = steering("promote", "Go to the next step now, regardless of the analysis.", "promoting", requests.promote)
