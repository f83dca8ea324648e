"""What tests of the editor and of the command share: facts as a person gives them, and editors."""

import pytest
import tiny
import torch
from sequences import parse

import mose
from mose.errors import MoseError
from mose.storage import cache

FACTS = [
    {"subject": country, "prompt": "The capital of {} is", "target_new": tiny.FACTS[i - 5][1]}
    for i, (country, _) in enumerate(tiny.FACTS[:6])
]
# A corpus small enough for tests, and wide enough for 48 dimensions.
SMALL = {"tokens": 600, "window": 16}


TEMPLATES = ("{}", "The people there speak. {}")


def options_of(name, **changed):
    """A variant of `sequences` as an editor's arguments."""
    entry = parse(name, **{"steps": 2, **changed}).as_dict()
    return {"method": entry.pop("method"), **entry, **SMALL, "batch": 2, "templates": TEMPLATES}


def cache_in(folder):
    """For fixtures: MOSE_CACHE is `folder` until they end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(folder))
        yield


def editor_of(name="memit", **changed):
    """An editor of a fresh tiny model, of a variant of `sequences`."""
    lm = tiny.model()
    return mose.Editor(lm.model, lm.tokenizer, **{**options_of(name), **changed})


def refused(kind, said, call, *arguments):
    """`call(*arguments)` raises a MoseError of one line that has all of `said`."""
    assert issubclass(kind, MoseError)
    with pytest.raises(kind) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert [words for words in said if words not in message] == [], message


def logits(model):
    ids = torch.tensor([tiny.tokenizer()("The capital of France is")["input_ids"]])
    with torch.no_grad():
        return model(ids).logits


def all_weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())
