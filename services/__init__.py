"""The reference services. Each is a package of its own that uses `bus` and nothing else of Headway: copy one to start yours."""
