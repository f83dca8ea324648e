"""Edit requests of what a person has: records, a data frame, a file, or edit requests."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mose.errors import RequestError
from mose.facts.forms import REQUIRED
from mose.facts.readers import Report, read_facts_of, read_records
from mose.facts.requests import EditRequest, Fact
from mose.storage.records import without_empty

EXPECTED = (
    f"expected a list of records with {', '.join(REQUIRED)}, a data frame, or the path of a file"
)
# Refused records that an error names.
NAMED = 3
SHARED = [field.name for field in fields(EditRequest)]


def requests_of(
    facts: Any,
    taken: Collection[str] = (),
    form: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[EditRequest]:
    """The edit requests of `facts`, in their order.

    facts: a record or a list of records, of any form of `mose.facts.forms`; a pandas data frame
    with a row per record; the path of a file of records; an EditRequest or a list of them.
    taken: ids of earlier requests. An id that is taken gets a number: `capital#2`. A record without
    an id has its place as id.
    form, columns: as in `mose.facts.readers.read_facts_of`.
    Raises RequestError for what cannot be read, and for any record that cannot be used.
    """
    where = str(facts) if isinstance(facts, str | Path) else "facts"
    rows = None if isinstance(facts, str | Path) else _rows(facts)
    if rows and isinstance(rows[0], EditRequest):
        return _with_own_ids(rows, taken)
    try:
        if rows is None:
            read, report = read_facts_of(where, form, columns=columns)
        else:
            read, report = read_records(rows, where, form, columns)
    except RequestError as error:
        raise without_keys(error) from None
    _check(report, where)
    return _with_own_ids([_request(fact, where) for fact in read], taken)


def without_keys(error: RequestError) -> RequestError:
    """An error of the readers where there is no configuration, whose keys they name."""
    return RequestError(str(error).replace(" (datasets.*.source)", "").replace("datasets.*.", ""))


def _rows(facts: Any) -> list[Any]:
    """The records of anything but a path."""
    if isinstance(facts, Mapping | EditRequest):
        return [facts]
    if hasattr(facts, "to_dict") and hasattr(facts, "columns"):
        return [without_empty(row, parse=False) for row in facts.to_dict("records")]
    if not isinstance(facts, Iterable):
        raise RequestError(f"facts: found {type(facts).__name__}, {EXPECTED}")
    rows = list(facts)
    if not rows:
        raise RequestError(f"facts: found none, {EXPECTED}")
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping | EditRequest):
            raise RequestError(
                f"facts: found {type(row).__name__} at place {place}, expected a record "
                f"{{{', '.join(f'{name}: ...' for name in REQUIRED)}}}; give each fact so"
            )
    if len({isinstance(row, EditRequest) for row in rows}) > 1:
        raise RequestError("facts: found records and EditRequests; give a list of one kind")
    return rows


def _check(report: Report, where: str) -> None:
    """Raise RequestError if a record was refused: an editor writes all of what it is given."""
    if report.refused:
        named = [
            f"{place}: {reason}" for reason, places in report.examples.items() for place in places
        ]
        count = sum(report.refused.values())
        more = "" if count <= NAMED else f" and {count - NAMED} more (mose check FILE counts them)"
        raise RequestError(
            f"{where}: {count} of {report.read} records cannot be used ("
            f"{'; '.join(named[:NAMED])}){more}; correct them or leave them out"
        )


def _request(fact: Fact, where: str) -> EditRequest:
    if not fact.target_new:
        raise RequestError(
            f"{where}: fact {fact.id} has no target_new; say what the edited model should answer"
        )
    return EditRequest(**{name: getattr(fact, name) for name in SHARED})


def _with_own_ids(requests: Sequence[EditRequest], taken: Collection[str]) -> list[EditRequest]:
    """Requests whose ids differ from each other and from those taken."""
    used = set(taken)
    named = []
    for request in requests:
        name, number = request.id, 1
        while name in used:
            number += 1
            name = f"{request.id}#{number}"
        used.add(name)
        named.append(request if name == request.id else replace(request, id=name))
    return named
