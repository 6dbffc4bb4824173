"""Replayed releases: the judge's hits, misses and false alarms, compared with other judges."""
