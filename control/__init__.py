"""What all controllers share: control records, their compare-and-set store, the lease, rounds and heartbeats."""
