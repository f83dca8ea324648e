"""Drawing edit requests from facts: seeded order, false targets and locality prompts.

The requests and their order depend on the data set, its options and the seed, not on the number of
edits.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mose.errors import ConfigError, RequestError
from mose.facts.requests import EditRequest, Fact, Probe
from mose.storage import files


def part_of(subject: str) -> str:
    """The part of a data set that a subject belongs to, for any seed: "tuning" (one fifth), for
    choosing settings, or "evaluation"."""
    return "tuning" if hashlib.sha256(subject.encode()).digest()[0] % 5 == 0 else "evaluation"


def sample(requests: Sequence[EditRequest], count: int) -> list[int]:
    """Ascending indices of `count` requests (of all, if there are fewer), chosen by id digests.

    Appending requests changes the choice as little as possible: a request is dropped only for an
    appended one.
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
    """Edit requests for facts, in a seeded order.

    known_only: leave out facts that the model does not know.
    neighbours: most locality prompts per request. They are prompts of the same relation about
    held-out subjects, unless the fact has its own.
    held_out: share of the subjects without own locality prompts that is never edited.
    part: "all", or only the subjects of one part (`part_of`).
    A fact's own target is kept; otherwise a false object of its relation is drawn.
    Raises RequestError if no request is left, or if `known_only` is set for facts that were not
    checked against the model.
    """
    if known_only and any(fact.known is None for fact in facts):
        raise RequestError("known_only: the facts were never asked of the model")
    usable = [fact for fact in facts if fact.known or not known_only]
    generator = random.Random(seed)
    subjects = sorted({fact.subject for fact in usable if not fact.locality})
    generator.shuffle(subjects)
    held_out_subjects = set(subjects[: round(held_out * len(subjects))])
    objects = _objects(facts)
    requests = []
    for fact in generator.sample(usable, len(usable)):
        if fact.subject in held_out_subjects or part not in ("all", part_of(fact.subject)):
            continue
        # Each request has its own generator, so that a change of one fact changes no other draw.
        fact_generator = random.Random(f"{seed} {fact.id}")
        target = fact.target_new or _draw_target(fact, objects[fact.relation], fact_generator)
        if not target:
            continue
        if fact.locality:
            probes = list(fact.locality[:neighbours])
        else:
            probes = _draw_neighbours(
                fact, target, usable, held_out_subjects, neighbours, fact_generator
            )
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
        reasons = _reasons(set_aside(facts, requests, known_only, part))
        raise RequestError(
            f"no request is left of {len(facts)} facts ({len(usable)} usable): {reasons}; "
            "or give more facts"
        )
    return requests


def left_out(facts: Sequence[Fact], drawn: Sequence[EditRequest]) -> dict[str, dict[str, int]]:
    """Numbers of locality prompts and instance questions that the limit `neighbours` removed, by
    request id; only requests that lost any."""
    facts_by_id = {fact.id: fact for fact in facts}
    by_request = {}
    for request in drawn:
        fact = facts_by_id[request.id]
        missing = {
            "locality": len(fact.locality) - len(request.locality) if fact.locality else 0,
            "instances": len(fact.instances) - len(request.instances),
        }
        if any(missing.values()):
            by_request[request.id] = {name: count for name, count in missing.items() if count}
    return by_request


def drawing_report(
    facts: Sequence[Fact],
    drawn: Sequence[EditRequest],
    neighbours: int,
    known_only: bool,
    part: str,
) -> dict[str, Any]:
    """Numbers of facts and requests, of facts set aside by reason, and of prompts left out.

    neighbours, known_only, part: as `drawn` was drawn with.
    """
    by_request = left_out(facts, drawn)
    total: Counter[str] = Counter()
    for missing in by_request.values():
        total.update(missing)
    return {
        "facts": len(facts),
        "requests": len(drawn),
        "set_aside": set_aside(facts, drawn, known_only, part),
        "neighbours": neighbours,
        "prompts_left_out": dict(total),
        "left_out_by_request": by_request,
    }


def _objects(facts: Sequence[Fact]) -> dict[str, list[str]]:
    """The distinct objects of each relation, sorted."""
    by_relation: dict[str, set[str]] = {}
    for fact in facts:
        by_relation.setdefault(fact.relation, set()).add(fact.target_true)
    return {relation: sorted(objects) for relation, objects in by_relation.items()}


def _draw_target(fact: Fact, objects: Sequence[str], generator: random.Random) -> str:
    """A random false object of the relation, or "" if there is none."""
    candidates = _false_objects(fact, objects)
    return generator.choice(candidates) if candidates else ""


def _draw_neighbours(
    fact: Fact,
    target: str,
    facts: Sequence[Fact],
    held_out_subjects: set[str],
    count: int,
    generator: random.Random,
) -> list[Probe]:
    """Prompts of the same relation about held-out subjects whose object is not `target`."""
    pool = [
        other
        for other in facts
        if other.relation == fact.relation
        and other.subject in held_out_subjects
        and other.target_true
        and target not in (other.target_true, *other.also)
    ]
    chosen = generator.sample(pool, min(count, len(pool)))
    return [Probe(other.text, other.target_true) for other in chosen]


# By key of a data set: why it excludes facts, and how to include them.
SET_ASIDE = {
    "known_only": "unknown to the model (datasets.*.known_only: false edits them too)",
    "part": "of the other part (datasets.*.part: all edits them too)",
    "target_new": "without a false object of their relation (give target_new)",
    "held_out": "kept aside for locality prompts (lower datasets.*.held_out, or give locality)",
}


def set_aside(
    facts: Sequence[Fact], drawn: Sequence[EditRequest], known_only: bool, part: str
) -> dict[str, int]:
    """Number of facts that are not requests, by the key of SET_ASIDE that excludes them.

    drawn: result of `draw_requests` for these facts, `known_only` and `part`. A fact that several
    keys exclude counts for the first.
    """
    edited = {request.id for request in drawn}
    objects = _objects(facts)
    counts: Counter[str] = Counter()
    for fact in facts:
        if fact.id in edited:
            continue
        if known_only and not fact.known:
            counts["known_only"] += 1
        elif part not in ("all", part_of(fact.subject)):
            counts["part"] += 1
        elif not fact.target_new and not _false_objects(fact, objects[fact.relation]):
            counts["target_new"] += 1
        else:
            counts["held_out"] += 1
    return {key: counts[key] for key in SET_ASIDE if counts[key]}


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {SET_ASIDE[key]}" for key, count in counts.items())


def _false_objects(fact: Fact, objects: Sequence[str]) -> list[str]:
    true = {fact.target_true, *fact.also}
    return [candidate for candidate in objects if candidate not in true]


def check_enough(
    count: int, wanted: int, where: str | Path, aside: Mapping[str, int] | None = None
) -> None:
    """Raise ConfigError if there are fewer than `wanted` requests.

    count: of requests in `where`. aside: number of facts that are not requests, by key of
    SET_ASIDE.
    """
    if count < wanted:
        facts = count + sum((aside or {}).values())
        of = f" of {facts} facts; not edited: {_reasons(aside)}" if aside else ""
        raise ConfigError(
            f"edits.total asks for {wanted} edits and {where} holds {count} requests{of}; "
            "lower edits.total, or give more facts"
        )


def knowledge_report(facts: Sequence[Fact]) -> str:
    """Text: number of facts that the model knows, in total and by relation, a line each."""
    total, known = Counter(f.relation for f in facts), Counter(f.relation for f in facts if f.known)
    lines = [f"{sum(known.values())} of {len(facts)} facts are known to the model"]
    lines += [f"  {relation}: {known[relation]} of {total[relation]}" for relation in sorted(total)]
    return "\n".join(lines)
