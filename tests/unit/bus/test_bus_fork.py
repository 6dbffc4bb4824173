"""A process that was forked shares no ids with its parent."""

from __future__ import annotations

import os

from headway.bus.client.ids import unique_id


def test_ids_made_after_a_fork_differ_from_the_parents():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, unique_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(reader, 64).decode(), unique_id()
    os.close(reader)
    os.close(writer)
    assert len(theirs) == len(ours) == 22
    assert theirs != ours
