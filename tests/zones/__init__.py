"""Three zones that fail one at a time while everything is used, and a checker that reads afterwards what happened.

plan.py       which faults, in which order: a pure function of a seed
network.py    each zone's server in a network namespace of its own, so that zones can be cut off
disks.py      each zone's store on a disk of its own, so that it can be full
place.py      the servers, and all that `headway up` runs beside them
nemesis.py    does to the place what the plan says, and waits until it is healthy again
load/         clients: jobs, calls, objects, agents, rollouts; each writes down what it asked and what came of it
history.py    what they wrote: one file, kept after the run
promises/     what Headway promises, one file each: a pure function of a history
checker.py    all of them
run.py        all of it
"""
