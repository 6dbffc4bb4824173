"""The jobs bench: how fast one process drains a work queue."""
