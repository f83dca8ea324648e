"""What every closed-form method must do, whatever its formula; one row of plain.py each."""

import pytest
import torch
from small_layer import CLOSED_FORM, WITHOUT_LAMBDA, batch, make

from mose.methods.register import METHODS


def test_every_closed_form_method_has_its_row():
    others = {"ft", "locft-bf", "oft", "ultraedit", "stableedit", "in-context"}
    assert {entry["method"] for entry in CLOSED_FORM.values()} == set(METHODS) - others


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_restored_editor_goes_on_to_the_same_numbers(name, weight, moment):
    first, options = make(name, weight, moment)
    first.update(*batch(first, options, seed=1))
    second, _ = make(name, weight, moment)
    second.load(first.state())
    assert torch.allclose(second.weight, first.weight, rtol=0, atol=1e-12)
    following = batch(first, options, seed=2)
    first.update(*following)
    second.update(*following)
    assert torch.allclose(second.weight, first.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_an_update_brings_the_keys_closer_to_their_targets(name, weight, moment):
    editor, options = make(name, weight, moment)
    keys, residuals = batch(editor, options)
    wanted = residuals if len(residuals) == len(weight) else weight.double() @ residuals
    editor.update(keys, residuals)
    editor.finish()
    change = (editor.weight.double() - weight.double()) @ keys
    left = torch.linalg.vector_norm(wanted - change, dim=0)
    # SPHERE and REVIVE take most of an update along the main directions away.
    bound = 1.0 if name.startswith(("sphere", "revive")) else 0.97
    assert (left < bound * torch.linalg.vector_norm(wanted, dim=0)).all()


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_no_residual_is_no_change(name, weight, moment):
    editor, options = make(name, weight, moment)
    keys, residuals = batch(editor, options)
    editor.update(keys, torch.zeros_like(residuals))
    editor.finish()
    assert torch.allclose(editor.weight.double(), weight.double(), atol=1e-12)


@pytest.mark.parametrize(
    "name", [n for n, e in CLOSED_FORM.items() if e.get("base", e["method"]) not in WITHOUT_LAMBDA]
)
def test_infinite_retention_is_no_change(name, weight, moment):
    moved = []
    for retention in (0.1, 1e10):
        editor, options = make(name, weight, moment, retention)
        editor.update(*batch(editor, options))
        editor.finish()
        moved.append(float(torch.linalg.matrix_norm(editor.weight.double() - weight.double())))
    assert moved[0] > 0.1
    assert moved[1] < 1e-5
