"""The equality constraint, and what loosening it makes of EMMET."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make

from mose.errors import NumericalError
from mose.methods.emmet import emmet_delta
from mose.methods.memit import memit_delta
from mose.methods.rome import rome_delta


@pytest.mark.parametrize(("weight", "relaxation"), [(1.0, 0.1), (1000.0, 0.1), (1e5, 1e-3)])
def test_relaxed_it_is_memit_with_the_product_of_its_two_weights(weight, relaxation, moment):
    keys, residuals = draw(D_IN, 6), draw(D_OUT, 6, seed=1)
    found = emmet_delta(keys, residuals, moment, weight, relaxation)
    memit = memit_delta(keys, residuals, moment, weight * relaxation)
    assert torch.allclose(found, memit, rtol=1e-10, atol=1e-13)


def test_unrelaxed_it_writes_exactly_whatever_the_weight(moment):
    keys, residuals = draw(D_IN, 6), draw(D_OUT, 6, seed=1)
    found = emmet_delta(keys, residuals, moment, 1.0, 0.0)
    assert torch.allclose(found @ keys, residuals, atol=1e-10)
    assert torch.allclose(found, emmet_delta(keys, residuals, moment, 1e4, 0.0), atol=1e-10)


@pytest.mark.parametrize("relaxation", [0.0, 0.1, 10.0])
def test_one_request_is_written_exactly_whatever_the_relaxation(relaxation, weight, moment):
    key, residual = draw(D_IN, 1), draw(D_OUT, 1, seed=1)
    editor, _ = make("emmet", weight, moment, retention=1e3, relaxation=relaxation)
    delta = editor.delta(key, residual, key)
    assert torch.allclose(delta @ key, residual, atol=1e-10)
    # Of all that do, the one that is least as the second moment weighs it: ROME's.
    assert torch.allclose(delta, rome_delta(key, residual, moment, key), atol=1e-10)


def test_a_key_twice_is_refused_without_relaxation(moment):
    key = draw(D_IN, 1).expand(D_IN, 2)
    with pytest.raises(NumericalError, match="two requests of a batch have the same key"):
        emmet_delta(key, draw(D_OUT, 2), moment, 1.0, 0.0)
