"""Requests that are edited again to another object: which, where, and to what."""

from dataclasses import replace

import pytest

from mose.errors import RequestError
from mose.facts.conflicts import conflicting_pairs, with_conflicts
from mose.facts.drawing import draw_requests
from mose.facts.requests import Fact, Probe

APART = 6


@pytest.fixture
def facts():
    return [
        Fact(
            id=f"{relation}/{i}",
            subject=f"S{i}",
            prompt=f"The {relation} of {{}} is",
            target_true=f"{relation}{i % 7}",
            relation=relation,
            also=(f"{relation}{(i + 1) % 7}",),
            portability=(Probe("What follows?", "this"),),
            references=("a text",),
        )
        for relation in ("capital", "river")
        for i in range(40)
    ]


@pytest.fixture
def drawn(facts):
    return draw_requests(facts, 0, False, 2, 0.25)


def test_a_share_is_edited_again_to_another_object_of_the_relation(facts, drawn):
    order = with_conflicts(drawn, facts, 0.4, APART, seed=0)
    later = [request for request in order if request.id.endswith("#2")]
    assert [request for request in order if request not in later] == drawn
    assert 0.2 * len(drawn) < len(later) < 0.6 * len(drawn)
    places = {request.id: place for place, request in enumerate(order)}
    assert len(places) == len(order)
    known = {fact.id: fact for fact in facts}
    for request in later:
        earlier = order[places[request.id.removesuffix("#2")]]
        fact = known[earlier.id]
        assert places[request.id] - places[earlier.id] >= APART
        assert request.target_new.startswith(fact.relation)
        assert request.target_new not in (earlier.target_new, fact.target_true, *fact.also)
        assert request.target_new not in {probe.target for probe in request.locality}
        assert request == replace(
            earlier, id=request.id, target_new=request.target_new, portability=(), references=()
        )
    pairs = {(order[one].id, order[other].id) for one, other in conflicting_pairs(order)}
    assert pairs == {(request.id.removesuffix("#2"), request.id) for request in later}


def test_all_are_edited_again_where_all_are_asked_for(facts, drawn):
    order = with_conflicts(drawn, facts, 1.0, APART, seed=0)
    # The last ones have no place behind them.
    pairs = conflicting_pairs(order)
    edited_again = {one for one, _ in pairs}
    without = [place for place, one in enumerate(order) if "#" not in one.id]
    assert set(without) - edited_again == set(without[len(pairs) :])
    assert all(order[other].id == f"{order[one].id}#2" for one, other in pairs)


def test_the_beginning_depends_on_seed_and_share_alone(facts, drawn):
    order = with_conflicts(drawn, facts, 0.4, APART, seed=0)
    shorter = with_conflicts(drawn[:40], facts, 0.4, APART, seed=0)
    assert order[: len(shorter)] == shorter
    assert order == with_conflicts(drawn, facts, 0.4, APART, seed=0)
    assert order != with_conflicts(drawn, facts, 0.4, APART, seed=1)


def test_requests_that_cannot_conflict_are_refused(facts, drawn):
    alone = [replace(fact, relation="") for fact in facts]
    with pytest.raises(RequestError, match=r"edits.conflicts: none of 60 requests can be edited"):
        with_conflicts([replace(one, relation="") for one in drawn], alone, 0.5, APART, seed=0)
    with pytest.raises(RequestError, match=r"again 100 places later"):
        with_conflicts(drawn, facts, 0.5, 100, seed=0)


def test_an_id_that_is_taken_is_not_given_again(facts, drawn):
    renamed = [replace(drawn[0], id=f"{drawn[1].id}#2"), *drawn[1:]]
    order = with_conflicts(renamed, facts, 1.0, APART, seed=0)
    assert len({one.id for one in order}) == len(order)


def test_three_requests_of_one_prompt_are_two_pairs(drawn):
    same = [replace(drawn[0], id=name) for name in "abc"]
    order = [same[0], drawn[1], same[1], drawn[2], same[2]]
    assert conflicting_pairs(order) == [(0, 2), (2, 4)]
