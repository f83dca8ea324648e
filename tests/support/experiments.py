"""A configuration as tests change it."""

import yaml

GOOD = {
    "experiment": "e",
    "models": ["smollm2-135m"],
    "datasets": {"facts": {"source": "builtin"}},
    "edits": {"total": 40, "batch": 10, "checkpoint": 20},
    "methods": {"a": {"method": "mose", "layers": [6], "lambda": 100, "learning_rate": 0.1}},
}


def changed(path, value):
    """GOOD with one key, named by a dotted path, set to a value."""
    made = yaml.safe_load(yaml.safe_dump(GOOD))
    at = made
    *parents, last = path.split(".")
    for key in parents:
        at = at.setdefault(key, {})
    at[last] = value
    return made
