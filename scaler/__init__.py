"""How many workers: observe, decide, act through a driver."""
