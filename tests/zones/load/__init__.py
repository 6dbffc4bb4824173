"""Clients: each asks one thing after the other, writes down what came of it, and goes on until it is told to stop."""
