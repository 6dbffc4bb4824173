"""What a mailbox holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import Reject
from headway.services.voicemail import Mailbox
from headway.services.voicemail.mailbox import added, marked, missed_call_id, page, without


def box_of(count: int) -> Mailbox:
    box = Mailbox(mailbox="alice")
    for number in range(count):
        box = added(box, f"m{number}", "voicemail", "", number, 1, 1000)
    return box


def ids(page_) -> list[str]:
    return [entry.message for entry in page_.entries]


def test_the_newest_message_is_first():
    assert ids(page(box_of(3), 10, None)) == ["m2", "m1", "m0"]


@given(st.integers(0, 30), st.integers(1, 7))
def test_pages_show_every_message_once(count, limit):
    box, before, seen = box_of(count), None, []
    while True:
        part = page(box, limit, before)
        seen += ids(part)
        before = part.next
        if before is None:
            break
    assert seen == [f"m{n}" for n in reversed(range(count))]


def test_what_comes_and_goes_between_two_pages_shifts_none():
    box = box_of(4)
    first = page(box, 2, None)
    changed = without(added(box, "new", "voicemail", "", 9, 1, 10), "m2")
    assert ids(page(changed, 2, first.next)) == ["m1", "m0"]


def test_a_message_is_entered_once():
    box = box_of(1)
    assert added(box, "m0", "voicemail", "", 5, 1, 10) == box


def test_a_full_mailbox_refuses_what_is_new_and_knows_what_it_has():
    with pytest.raises(Reject, match="full"):
        added(box_of(2), "m2", "voicemail", "", 0, 1, 2)
    assert added(box_of(2), "m1", "voicemail", "", 0, 1, 2) == box_of(2)


def test_unheard_messages_are_counted():
    box = marked(box_of(3), "m1", heard=True)
    assert box.unheard == 2
    assert marked(box, "m1", heard=False).unheard == 3
    assert without(box, "m0").unheard == 1


def test_a_message_that_is_not_there_cannot_be_marked():
    with pytest.raises(Reject, match="no message"):
        marked(box_of(1), "m9", heard=True)


@given(st.text("abcXYZ09_-", min_size=1, max_size=63))
def test_a_missed_call_has_one_valid_id(call):
    assert missed_call_id(call) == missed_call_id(call)
    assert len(missed_call_id(call)) <= 63
