"""Headway measured against its peers, in one run, on one machine, against one server: `python -m bench jobs`."""
