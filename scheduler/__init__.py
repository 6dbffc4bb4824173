"""Jobs for later and periodic jobs: submits each one when it is due."""

from __future__ import annotations
