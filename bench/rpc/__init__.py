"""Calls: how many requests one serving process answers with 64 in flight."""
