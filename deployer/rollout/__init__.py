"""Rollouts: planning the next step, and carrying it out."""
