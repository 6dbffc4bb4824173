"""Which HTTP connections stay, and which make way."""

from __future__ import annotations

from headway.clientsync.web.connections import Admission, Bounds

BOUNDS = Bounds(connections=10, reserve=4, address=3, known_address=5, known=60)


def admission(proxies: str | None = None) -> Admission[str]:
    return Admission(BOUNDS, proxies)


def test_the_oldest_silent_connection_of_an_address_makes_way_for_its_next_one():
    door = admission()
    assert [door.admit(name, "10.0.0.1", 0) for name in "abc"] == [[], [], []]
    door.busy("a")
    assert door.admit("d", "10.0.0.1", 0) == ["b"]
    assert len(door) == 3


def test_an_address_whose_connections_are_all_busy_gets_no_more():
    door = admission()
    for name in "abc":
        door.admit(name, "10.0.0.1", 0)
        door.busy(name)
    assert door.admit("d", "10.0.0.1", 0) == ["d"]


def test_the_oldest_silent_connection_of_all_makes_way_when_there_is_no_room():
    door = admission()
    assert [door.admit(f"c{n}", f"10.0.0.{n}", 0) for n in range(6)] == [[]] * 6
    assert door.admit("c6", "10.0.0.6", 0) == ["c0"]


def test_a_connection_that_was_answered_is_the_newest_silent_one():
    door = admission()
    for n in range(6):
        door.admit(f"c{n}", f"10.0.0.{n}", 0)
    door.busy("c0")
    door.silent("c0")
    assert door.admit("c6", "10.0.0.6", 0) == ["c1"]


def test_addresses_of_people_who_have_signed_in_have_room_of_their_own():
    door = admission()
    door.signed_in("10.0.1.1", 0)
    for n in range(6):
        door.admit(f"c{n}", f"10.0.0.{n}", 1)
        door.busy(f"c{n}")
    assert door.admit("stranger", "10.0.0.9", 1) == ["stranger"]
    assert [door.admit(f"k{n}", "10.0.1.1", 1) for n in range(4)] == [[]] * 4
    assert door.admit("late", "10.0.1.1", 61) == ["k0"]  # no longer known: its own oldest one makes way


def test_a_flood_of_strangers_never_displaces_somebody_known():
    door = admission()
    door.signed_in("10.0.1.1", 0)
    door.admit("known", "10.0.1.1", 1)
    closed = [one for n in range(500) for one in door.admit(f"c{n}", f"10.0.{n % 7 + 2}.{n % 5}", 1)]
    assert "known" not in closed
    assert len(door) <= BOUNDS.connections - BOUNDS.reserve


def test_somebody_known_displaces_strangers():
    door = Admission[str](Bounds(connections=4, reserve=0, address=4, known_address=4))
    for n in range(4):
        door.admit(f"c{n}", f"10.0.0.{n}", 0)
    door.signed_in("10.0.1.1", 0)
    assert door.admit("known", "10.0.1.1", 0) == ["c0"]


def test_a_trusted_proxy_has_no_bound_of_an_address():
    for proxies in ("10.9.0.0/16, ::1", "*"):
        door = admission(proxies)
        assert [door.admit(f"c{n}", "10.9.0.1", 0) for n in range(10)] == [[]] * 10
    assert admission("10.9.0.0/16").admit("a", "not an address", 0) == []


def test_what_is_closed_leaves_nothing_behind():
    door = admission()
    for n in range(100):
        door.admit(f"c{n}", f"10.0.0.{n}", 0)
        door.gone(f"c{n}")
    door.gone("c5")
    assert len(door) == 0
    assert door._of == {}
