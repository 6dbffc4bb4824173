"""Replayed releases: what the judge finds, misses and stops without cause, beside others' ways of judging."""
