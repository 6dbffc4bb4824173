"""The worker side of the bus: it takes calls and jobs, runs their handlers, and answers for every outcome."""
