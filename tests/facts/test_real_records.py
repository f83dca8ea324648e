"""Every record of every file of real edits is read, or refused with a reason."""

import json

import pytest

from mose.errors import RequestError
from mose.facts import readers
from mose.facts.forms import FORMS


def test_every_file_is_read_by_what_its_fields_tell(real_data):
    files = sorted((real_data / "edits").glob("*.json*"))
    assert len(files) >= 5
    for path in files:
        records = json.loads(path.read_text())
        # The one thing that must be named is the target of ZsRE.
        forms = ("zsre-alt", "zsre-answer") if "mend" in path.name else (None,)
        for form in forms:
            facts, report = readers.read_facts_of(str(path), form)
            assert report.read == len(records), (path, form)
            assert report.kept == len(facts)
            assert report.read == report.kept + sum(report.refused.values()), (path, form)
            assert report.kept > 0.9 * report.read, str(report)
            for reason, count in report.refused.items():
                assert reason
                assert len(report.examples[reason]) == min(count, 5)


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_form_refuses_and_does_not_crash(real_data, form):
    for path in sorted((real_data / "edits").glob("*.json")):
        try:
            _, report = readers.read_facts_of(str(path), form)
        except RequestError:
            continue  # none of its records can be used
        assert report.read == report.kept + sum(report.refused.values())
