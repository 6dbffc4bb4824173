"""Logs, traces and metrics of workers and clients."""
