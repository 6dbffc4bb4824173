"""Reloads edited services while they run (`headway dev`)."""
