"""`headway deploy`: the short form of `headway rollout start`."""

from __future__ import annotations

import copy

from headway.commands.rollout.start import start

deploy = copy.copy(start)
deploy.name = "deploy"
