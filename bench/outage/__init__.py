"""The outage bench: what is killed, and what callers and submitters notice of it."""
