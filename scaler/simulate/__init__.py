"""Recorded or invented load, replayed against our decisions and against those of others, and drawn."""
