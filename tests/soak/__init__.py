"""Everything at once for a long time: nothing may be lost, and nothing may grow.

    python -m tests.soak --seconds 1800      # `make soak`

The place, the load, the history and the checker are those of tests/zones. Here is what a long run adds:

service.py   the service under load, also with events, and a configuration that makes a version slow
crowd.py     publishers of events, and bursts of jobs
releases.py  one release after the other, every third one bad
measure.py   what the run uses: processes, memory, consumers, descriptors, files, records, log lines
growth.py    whether any of it grows with the number of releases: a pure function
run.py       all of it
"""
