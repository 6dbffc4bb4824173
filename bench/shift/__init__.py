"""The shift bench: how releases affect callers and jobs."""
