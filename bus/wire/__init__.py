"""The wire format: subjects, headers, encoded bodies and heartbeats."""
