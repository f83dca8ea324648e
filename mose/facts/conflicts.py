"""Conflicting requests: a subject and relation that are edited again, to another new object.

The coverage edit of Li et al. 2024 (arXiv 2310.02129).
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from mose.errors import RequestError
from mose.facts.requests import EditRequest, Fact


def with_conflicts(
    requests: Sequence[EditRequest], facts: Sequence[Fact], share: float, apart: int, seed: int
) -> list[EditRequest]:
    """The requests in their order, some followed by a conflicting one at least `apart` places on.

    share: of the requests that conflict, drawn by seed and id. facts: whose objects are drawn from.
    A conflicting request has the earlier one's subject and prompts and another object of the
    relation, neither true nor expected by a locality prompt; what follows from the earlier object
    (portability, references) is left out. One that would come after the last request is left out.
    The beginning of the order does not depend on later requests.
    Raises RequestError if no request can conflict.
    """
    objects, also = _objects(facts), {fact.id: fact.also for fact in facts}
    taken = {request.id for request in requests}
    due: deque[tuple[int, EditRequest]] = deque()
    order: list[EditRequest] = []
    for request in requests:
        while due and due[0][0] <= len(order):
            order.append(due.popleft()[1])
        generator = random.Random(f"conflict {seed} {request.id}")
        wrong = {request.target_new, request.target_true, *also.get(request.id, ())}
        wrong |= {probe.target for probe in request.locality}
        others = [one for one in objects.get(request.relation, ()) if one not in wrong]
        if generator.random() < share and others:
            later = _conflicting(request, generator.choice(others), taken)
            due.append((len(order) + apart, later))
        order.append(request)
    if len(order) == len(requests):
        raise RequestError(
            f"edits.conflicts: none of {len(requests)} requests can be edited again {apart} places "
            "later; give more facts, facts with a relation that has further objects, or a larger "
            "share"
        )
    return order


def conflicting_pairs(requests: Sequence[EditRequest]) -> list[tuple[int, int]]:
    """Places of each two successive requests of one subject and prompt, the earlier first."""
    last: dict[tuple[str, str], int] = {}
    pairs = []
    for place, request in enumerate(requests):
        key = request.subject, request.prompt
        if key in last:
            pairs.append((last[key], place))
        last[key] = place
    return pairs


def _conflicting(request: EditRequest, target: str, taken: set[str]) -> EditRequest:
    number = 2
    while f"{request.id}#{number}" in taken:
        number += 1
    name = f"{request.id}#{number}"
    taken.add(name)
    return replace(request, id=name, target_new=target, portability=(), references=())


def _objects(facts: Sequence[Fact]) -> dict[str, list[str]]:
    """The distinct objects of each relation, old and new ones, sorted; none without a relation."""
    by_relation: dict[str, set[str]] = {}
    for fact in facts:
        if fact.relation:
            own = by_relation.setdefault(fact.relation, set())
            own.update(filter(None, (fact.target_true, fact.target_new)))
    return {relation: sorted(objects) for relation, objects in by_relation.items()}
