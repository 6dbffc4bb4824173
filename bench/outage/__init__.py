"""The outage bench: kills processes, and measures what callers and submitters notice."""
