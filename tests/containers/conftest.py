"""Fixtures of the container tests; what they are made of is in tests/support/containers_stack.py."""

from __future__ import annotations

import os

# The container that would clear up after a killed test run cannot be had where there is no registry; set before import.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from tests.support.containers_stack import composes, docker, image, stack

__all__ = ["composes", "docker", "image", "stack"]
