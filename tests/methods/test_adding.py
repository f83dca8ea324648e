"""The example of docs/methods.md: a method in one file and one registration."""

import re
import sys
from pathlib import Path
from types import ModuleType

import torch
from plain import batch, make

from mose.methods.editors import make_editor
from mose.methods.options import MemitOptions
from mose.methods.register import METHODS, Method, parse_variant

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_documented_example_edits_and_restores(monkeypatch, weight, moment):
    text = DOCS.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (registration,) = re.findall(r'`"half": (Method\(.*?\))`', text)
    module = ModuleType("mose.methods.half")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "mose.methods.half", module)
    entry = eval(registration, {"Method": Method, "MemitOptions": MemitOptions})
    monkeypatch.setitem(METHODS, "half", entry)

    variant = parse_variant({"method": "half", "layers": [3], "lambda": 0.5, "learning_rate": 0.1})
    half = make_editor(weight, moment, variant)
    memit, options = make("memit", weight, moment)
    keys, residuals = batch(memit, options)
    half.update(keys, residuals)
    memit.update(keys, residuals)
    assert torch.allclose(2 * (half.weight - weight), memit.weight - weight, atol=1e-5)
    again = make_editor(weight, moment, variant)
    again.load(half.state())
    assert torch.equal(again.weight, half.weight)
