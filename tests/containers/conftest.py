"""Fixtures of the container tests; what they are made of is in containers_stack.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The container that would clear up after a killed test run cannot be had where there is no registry; set before import.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

# The contract that all drivers keep is beside the other drivers' tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "scaler"))

from containers_stack import composes, docker, image, stack

__all__ = ["composes", "docker", "image", "stack"]
