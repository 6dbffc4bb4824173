"""Recorded or generated load, replayed against Headway's decisions and those of other autoscalers, and drawn."""
