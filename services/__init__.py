"""The reference services. Each is a package of its own that uses `bus` and nothing else of ours: copy one to begin."""
