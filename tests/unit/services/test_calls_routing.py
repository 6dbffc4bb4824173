"""Who gets which call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.services.calls import routing
from headway.services.calls.models import Agent, AgentStatus, Call, CallState, Presence, Ticket

NOW = 1000.0
SKILLS = ["sales", "support"]
LANGUAGES = ["en", "de"]


def agent(
    id_: str, skills=("sales",), languages=("en",), idle_since=0.0, call=None, presence="available", until=NOW + 60
) -> Agent:
    return Agent(
        agent=id_,
        presence=presence,
        skills=list(skills),
        languages=list(languages),
        present_until=until,
        idle_since=idle_since,
        call=call,
    )


def ticket(id_: str, skill="sales", language="en", seen=NOW) -> Ticket:
    return Ticket(call=id_, skill=skill, language=language, seen=seen)


agents = st.lists(
    st.builds(
        agent,
        st.uuids().map(str),
        skills=st.sets(st.sampled_from(SKILLS)),
        languages=st.sets(st.sampled_from(LANGUAGES)),
        idle_since=st.floats(0, NOW),
        call=st.sampled_from([None, None, "busy"]),
        presence=st.sampled_from(list(Presence)),
        until=st.sampled_from([NOW - 1, NOW + 60]),
    ),
    max_size=8,
)
tickets = st.lists(
    st.builds(ticket, st.uuids().map(str), skill=st.sampled_from(SKILLS), language=st.sampled_from(LANGUAGES)),
    max_size=8,
)


def test_the_agent_idle_for_longest_gets_the_call():
    chosen = routing.choose(ticket("c"), [], [agent("late", idle_since=9), agent("early", idle_since=1)], NOW)
    assert chosen is not None
    assert chosen.agent == "early"


def test_a_call_does_not_take_the_agent_of_one_that_waits_for_longer():
    assert routing.choose(ticket("second"), [ticket("first")], [agent("a")], NOW) is None


def test_a_call_does_not_wait_for_agents_that_nobody_before_it_can_have():
    chosen = routing.choose(ticket("second"), [ticket("first", skill="support")], [agent("a")], NOW)
    assert chosen is not None


@given(agents, tickets, st.sampled_from(SKILLS), st.sampled_from(LANGUAGES))
def test_a_chosen_agent_is_free_present_and_fit(agents, ahead, skill, language):
    chosen = routing.choose(ticket("c", skill, language), ahead, agents, NOW)
    if chosen is not None:
        assert chosen.call is None
        assert chosen.presence is Presence.AVAILABLE
        assert chosen.present_until > NOW
        assert skill in chosen.skills
        assert language in chosen.languages


@given(agents, tickets)
def test_waiting_calls_that_all_choose_at_once_get_different_agents(agents, waiting):
    chosen = [routing.choose(one, waiting[:place], agents, NOW) for place, one in enumerate(waiting)]
    names = [one.agent for one in chosen if one is not None]
    assert len(names) == len(set(names))


@given(agents, tickets, tickets)
def test_calls_behind_change_nothing(agents, ahead, behind):
    mine = ticket("mine")
    queue = [*ahead, mine, *behind]
    assert routing.ahead_of("mine", queue, agents, NOW, 15) == ahead


@given(agents)
def test_a_call_waits_only_if_no_fit_agent_is_free(agents):
    mine = ticket("c")
    if routing.choose(mine, [], agents, NOW) is None:
        assert not any(a.call is None and routing.serves(a, mine, NOW) for a in agents)


def test_silent_callers_and_calls_an_agent_has_are_not_ahead():
    queue = [ticket("silent", seen=NOW - 20), ticket("served"), ticket("waits"), ticket("mine")]
    ahead = routing.ahead_of("mine", queue, [agent("a", call="served")], NOW, 15)
    assert [t.call for t in ahead] == ["waits"]


def test_the_position_counts_calls_of_the_same_skill_and_language():
    ahead = [ticket("1"), ticket("2", skill="support"), ticket("3", language="de"), ticket("4")]
    assert routing.position(ticket("mine"), ahead) == 3


def test_the_estimate_shares_the_waiting_calls_among_the_agents_who_serve_them():
    serving = [agent("a", call="x"), agent("b", call="y"), agent("c", skills=["support"])]
    assert routing.estimate(3, ticket("mine"), serving, NOW, 100) == 150
    assert routing.estimate(1, ticket("mine"), [], NOW, 100) is None


def test_a_refresh_keeps_skills_reservation_and_the_time_of_being_idle():
    known = agent("a", skills=["sales"], idle_since=5, call="c")
    again = routing.reported(known, AgentStatus(agent="a"), NOW, 60)
    assert (again.skills, again.call, again.idle_since, again.present_until) == (["sales"], "c", 5, NOW + 60)


def test_who_comes_back_is_idle_from_now():
    for gone in (agent("a", presence="away"), agent("a", until=NOW - 1)):
        assert routing.reported(gone, AgentStatus(agent="a"), NOW, 60).idle_since == NOW


def test_a_hangup_ends_an_active_call_misses_a_waiting_one_and_leaves_others():
    waiting = Call(call="c", caller="", skill="sales", language="en", state=CallState.QUEUED, queued_at=1)
    active = waiting.model_copy(update={"state": CallState.ACTIVE, "agent": "a", "started_at": 2.0})
    ended = routing.hung_up(active, "agent", 5)
    assert (ended.state, ended.by, ended.over_at) == (CallState.ENDED, "agent", 5)
    assert routing.hung_up(waiting, "caller", 5).reason == "caller_hung_up"
    assert routing.hung_up(ended, "caller", 9) == ended


def test_each_state_has_its_event():
    waiting = Call(call="c", caller="", skill="sales", language="en", state=CallState.QUEUED, queued_at=1)
    active = waiting.model_copy(update={"state": CallState.ACTIVE, "agent": "a", "started_at": 3.0})
    assert routing.event_of(waiting) is None
    started = routing.event_of(active)
    assert started is not None
    assert (started[0], started[1].waited) == ("call.started", 2)
    ended = routing.event_of(routing.hung_up(active, "caller", 10))
    assert ended is not None
    assert (ended[0], ended[1].seconds) == ("call.ended", 7)
    missed = routing.event_of(routing.missed(waiting, "no_agent", 4))
    assert missed is not None
    assert (missed[0], missed[1].reason, missed[1].waited) == ("call.missed", "no_agent", 3)
