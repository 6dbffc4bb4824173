"""The shift bench: what releases cost callers and jobs."""
