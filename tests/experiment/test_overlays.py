"""Configurations of several files."""

import pytest

from mose.experiment.overlays import merged

HUB = {"hub": "a/b", "revision": "1", "subset": "s"}


def test_later_keys_override_earlier_ones_within_mappings():
    layers = [
        {"seeds": [0, 1], "edits": {"total": 4, "batch": 1}, "datasets": {"a": "x"}},
        {"seeds": [2], "edits": {"total": 8}, "datasets": {"a": {"part": "all"}}},
        {"edits": {"batch": 2}, "corpus": {}},
    ]
    assert merged(layers) == {
        "seeds": [2],
        "edits": {"total": 8, "batch": 2},
        "datasets": {"a": {"part": "all"}},
        "corpus": {},
    }
    assert layers[0]["edits"] == {"total": 4, "batch": 1}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (HUB, {"hub": "c/d", "revision": "2"}, {"hub": "c/d", "revision": "2"}),
        (HUB, {"file": "mine.json"}, {"file": "mine.json"}),
        (HUB, "builtin", "builtin"),
        ("builtin", HUB, HUB),
        (HUB, {"revision": "2"}, {**HUB, "revision": "2"}),
    ],
)
@pytest.mark.parametrize("block", ["corpus", "datasets", "tasks"])
def test_another_source_keeps_nothing_of_the_earlier_one(block, before, after, expected):
    def config(source, **more):
        entry = {"source": source, **more}
        return {block: entry if block == "corpus" else {"a": entry}}

    assert merged([config(before, seed=1), config(after)]) == config(expected, seed=1)
