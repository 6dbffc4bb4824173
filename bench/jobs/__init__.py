"""Jobs: how fast one process takes a work queue to empty."""
