"""Wrong calls of an editor: each is one line that says what to do, before anything is loaded."""

import pytest
from front_door import FACTS, editor_of, refused

import mose
from mose.errors import ConfigError, ModelError, RequestError, StoreError
from mose.models import sources

FACT = FACTS[0]


def _empty(path):
    path.touch()
    return path


WRONG = {
    "a method that is none": (
        lambda e, _: editor_of(method="memti"), ConfigError, ["method", "'memti'", "did you mean"],
    ),
    "an option that is none": (
        lambda e, _: editor_of(lamda=3), ConfigError, ["unknown key 'lamda'", "'lambda'"],
    ),
    "a method that edits nothing": (
        lambda e, _: mose.Editor.from_pretrained("smollm2-135m", "in-context", layers=[1]),
        ConfigError, ["in-context changes no weights", "take a method that edits"],
    ),
    "an argument that is none": (
        lambda e, _: editor_of(batch_sizes=3), ConfigError, ["'batch_sizes'", "mean 'batch'"],
    ),
    "an option misspelt as in Python": (
        lambda e, _: editor_of(retention_wieght=3), ConfigError, ["mean 'retention_weight'"],
    ),
    "an option's value": (
        lambda e, _: editor_of(steps=0), ConfigError, ["steps", "found 0", "at least 1"],
    ),
    "another form under the paper's name": (
        lambda e, _: editor_of(method="mose-published", memory="accumulate"), ConfigError,
        ["options.memory", "'accumulate'", "method='mose'"],
    ),
    "half of a model": (
        lambda e, _: mose.Editor.resume("state.h5", e.model), ConfigError, ["give both"],
    ),
    "a batch of none": (
        lambda e, _: editor_of(batch=0), ConfigError, ["batch", "found 0", "at least 1"],
    ),
    "a layer that is not there": (
        lambda e, _: editor_of(layers=[7]), ConfigError, ["layer 7", "layers 0 to 3"],
    ),
    "a corpus that is not there": (
        lambda e, _: editor_of(corpus="gone.txt"), RequestError, ["gone.txt", "no such file"],
    ),
    "templates without a place": (
        lambda e, _: editor_of(templates=["So."]), RequestError, ["'So.'", "exactly one {}"],
    ),
    "a model's name instead of a model": (
        lambda e, _: mose.Editor("smollm2-135m", None), ModelError,
        ["found str", "Editor.from_pretrained"],
    ),
    "a name that is none": (
        lambda e, _: mose.Editor.from_pretrained("smollm2"), ModelError,
        ["'smollm2'", "did you mean 'smollm2-135m'", "hub"],
    ),
    "a number format that is none": (
        lambda e, _: mose.Editor.from_pretrained("smollm2-135m", dtype="fp16"), ConfigError,
        ["dtype", "'fp16'", "float16"],
    ),
    "a revision of a folder": (
        lambda e, folder: mose.Editor.from_pretrained(folder, revision="main"), ModelError,
        ["revision", "'main'", "leave it out"],
    ),
    "no fact": (lambda e, _: e.edit([]), RequestError, ["found none", "target_new"]),
    "a text as a fact": (
        lambda e, _: e.edit(["France"]), RequestError, ["found str at place 0", "target_new"],
    ),
    "a file that is not there": (
        lambda e, _: e.edit("facts.csv"), RequestError, ["facts.csv: no such file; check the path"],
    ),
    "a folder as facts": (
        lambda e, folder: e.edit(folder), RequestError, ["a folder, expected a file;"],
    ),
    "a file without facts": (
        lambda e, folder: e.edit(_empty(folder.parent / "none.csv")), RequestError,
        ["none.csv: holds no records", "subject, prompt, target_new"],
    ),
    "a form that is none": (
        lambda e, _: e.edit([FACT], form="plane"), RequestError,
        ["form: found 'plane'", "did you mean 'plain'?"],
    ),
    "a folder that is no model": (
        lambda e, folder: mose.Editor.from_pretrained(folder.parent, "memit", layers=[1]),
        ModelError, ["not a model", "config.json"],
    ),
    "a state that is not there": (
        lambda e, _: mose.Editor.resume("gone.h5"), StoreError, ["gone.h5: no such file; check"],
    ),
    "an edit that is not there": (
        lambda e, _: e.remove("Spain"), RequestError, ["no edit of subject 'Spain'", "of none"],
    ),
    "a fact without its new object": (
        lambda e, _: e.edit({"subject": "France", "prompt": "{} has", "target": "Rome"}),
        RequestError, ["missing target_new", "columns: {target_new: target}"],
    ),
    "one of the facts without subject in its prompt": (
        lambda e, _: e.edit([FACT, {**FACT, "prompt": "It is"}]), RequestError,
        ["1 of 2 records", "record 1", "subject not in the prompt"],
    ),
    "a fact twice under one id": (
        lambda e, _: e.edit([{**FACT, "id": "a"}] * 2), RequestError,
        ["1 of 2 records", "(record 1 (id a): duplicate id)"],
    ),
    "nothing to evaluate": (lambda e, _: e.evaluate(), RequestError, ["nothing is edited yet"]),
    "nothing to continue": (lambda e, _: e.ask(" "), RequestError, ["prompt", "give a text"]),
    "no tokens": (lambda e, _: e.ask("So", tokens=0), ConfigError, ["tokens", "found 0"]),
    "a file that is no editor's": (
        lambda e, folder: mose.Editor.resume(folder / "config.json"), StoreError,
        ["config.json", "not an HDF5 file", "check the path"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def unused():
    return editor_of("memit")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line_that_says_what_to_do(name, unused, tiny_folder, monkeypatch):
    def no_download(*_):
        raise AssertionError("something was loaded before the arguments were checked")

    monkeypatch.setattr(sources, "fetch", no_download)
    call, kind, said = WRONG[name]
    refused(kind, said, call, unused, tiny_folder)
    assert not unused.session.requests
