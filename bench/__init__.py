"""Benches that compare Headway with its peers in one run, on one machine, against one server: `python -m bench
jobs`.
"""
