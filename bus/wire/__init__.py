"""What travels on the wire: subjects, headers, encoded bodies and heartbeats."""
