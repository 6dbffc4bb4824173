"""Rollouts: what happens next, and making it happen."""
