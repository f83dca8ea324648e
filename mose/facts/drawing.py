"""Drawing edit requests from facts: a seeded order, false targets, and locality prompts.

Which requests there are, and their order, depends on the data set and the seed only, never on how
many edits are asked for.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mose.errors import ConfigError, RequestError
from mose.facts.requests import EditRequest, Fact, Probe
from mose.storage import files


def part_of(subject: str) -> str:
    """The part of a data set that a subject belongs to, whatever the seed: "tuning" (a fifth), on
    which settings are chosen, or "evaluation", on which they are judged."""
    return "tuning" if hashlib.sha256(subject.encode()).digest()[0] % 5 == 0 else "evaluation"


def sample(requests: Sequence[EditRequest], count: int) -> list[int]:
    """Places of `count` requests, ascending (all, where there are no more), told by their ids.

    Of a longer sequence with the same beginning, the ones that are chosen again are the same.
    """
    order = sorted(range(len(requests)), key=lambda i: files.digest_of(requests[i].id))
    return sorted(order[:count])


def draw_requests(
    facts: Sequence[Fact],
    seed: int,
    known_only: bool,
    neighbours: int,
    held_out: float,
    part: str = "all",
) -> list[EditRequest]:
    """Turn facts into requests in a seeded order.

    part: "all", or only the subjects of one part (`part_of`).
    known_only: leave out facts that the model does not say by itself.
    neighbours: locality prompts per request, drawn from the same relation among subjects that
    are never edited; held_out is the share of subjects kept aside for that. Facts that bring
    their own target or locality prompts keep them (cut to `neighbours`).
    Raises RequestError when nothing is left, or knowledge was asked for and never measured.
    """
    if known_only and any(fact.known is None for fact in facts):
        raise RequestError("known_only: the facts were never asked of the model")
    usable = [fact for fact in facts if fact.known or not known_only]
    generator = random.Random(seed)
    subjects = sorted({fact.subject for fact in usable if not fact.locality})
    generator.shuffle(subjects)
    aside = set(subjects[: round(held_out * len(subjects))])
    objects = _objects(facts)
    requests = []
    for fact in generator.sample(usable, len(usable)):
        if fact.subject in aside or part not in ("all", part_of(fact.subject)):
            continue
        # Each request draws from its own generator: what one fact has or lacks moves no other.
        own = random.Random(f"{seed} {fact.id}")
        target = fact.target_new or _draw_target(fact, objects[fact.relation], own)
        if not target:
            continue
        if fact.locality:
            probes = list(fact.locality[:neighbours])
        else:
            probes = _draw_neighbours(fact, target, usable, aside, neighbours, own)
        requests.append(
            EditRequest(
                id=fact.id,
                subject=fact.subject,
                prompt=fact.prompt,
                target_new=target,
                target_true=fact.target_true,
                relation=fact.relation,
                paraphrases=fact.paraphrases,
                locality=tuple(probes),
                portability=fact.portability,
                instances=fact.instances[:neighbours],
                generation=fact.generation,
                references=fact.references,
            )
        )
    if not requests:
        raise RequestError(
            f"no request is left of {len(facts)} facts ({len(usable)} usable); "
            "set known_only: false, or give more facts"
        )
    return requests


def left_out(facts: Sequence[Fact], drawn: Sequence[EditRequest]) -> dict[str, dict[str, int]]:
    """By request id, the locality prompts and questions about instances of its fact that the cap
    on neighbours took away; requests that have all of theirs are not named."""
    given = {fact.id: fact for fact in facts}
    by_request = {}
    for request in drawn:
        fact = given[request.id]
        missing = {
            "locality": len(fact.locality) - len(request.locality) if fact.locality else 0,
            "instances": len(fact.instances) - len(request.instances),
        }
        if any(missing.values()):
            by_request[request.id] = {name: count for name, count in missing.items() if count}
    return by_request


def drawing_report(
    facts: Sequence[Fact], drawn: Sequence[EditRequest], neighbours: int
) -> dict[str, Any]:
    """How many requests were drawn of how many facts, and which prompts the cap left out."""
    by_request = left_out(facts, drawn)
    total: Counter[str] = Counter()
    for missing in by_request.values():
        total.update(missing)
    return {
        "facts": len(facts),
        "requests": len(drawn),
        "neighbours": neighbours,
        "prompts_left_out": dict(total),
        "left_out_by_request": by_request,
    }


def _objects(facts: Sequence[Fact]) -> dict[str, list[str]]:
    """The different objects of each relation, sorted."""
    by_relation: dict[str, set[str]] = {}
    for fact in facts:
        by_relation.setdefault(fact.relation, set()).add(fact.target_true)
    return {relation: sorted(objects) for relation, objects in by_relation.items()}


def _draw_target(fact: Fact, objects: Sequence[str], generator: random.Random) -> str:
    """A false object of the relation, or "" where there is none."""
    true = {fact.target_true, *fact.also}
    false = [candidate for candidate in objects if candidate not in true]
    return generator.choice(false) if false else ""


def _draw_neighbours(
    fact: Fact,
    target: str,
    facts: Sequence[Fact],
    aside: set[str],
    count: int,
    generator: random.Random,
) -> list[Probe]:
    """Prompts of the same relation about subjects kept aside, whose object is not `target`."""
    pool = [
        other
        for other in facts
        if other.relation == fact.relation
        and other.subject in aside
        and other.target_true
        and target not in (other.target_true, *other.also)
    ]
    chosen = generator.sample(pool, min(count, len(pool)))
    return [Probe(other.text, other.target_true) for other in chosen]


def check_enough(count: int, wanted: int, where: str | Path) -> None:
    """Refuse to make `wanted` edits of fewer requests."""
    if count < wanted:
        raise ConfigError(
            f"edits.total asks for {wanted} edits and {where} holds {count} requests; "
            "lower edits.total, or give more facts"
        )


def knowledge_report(facts: Sequence[Fact]) -> str:
    """How many facts the model knows, in all and by relation, as one line each."""
    total, known = Counter(f.relation for f in facts), Counter(f.relation for f in facts if f.known)
    lines = [f"{sum(known.values())} of {len(facts)} facts are known to the model"]
    lines += [f"  {relation}: {known[relation]} of {total[relation]}" for relation in sorted(total)]
    return "\n".join(lines)
