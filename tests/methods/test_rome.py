"""Rank-one edits: where they write, and the two keys of ROME."""

import pytest
import torch
from plain import D_IN, D_OUT, draw, make

from mose.errors import ConfigError
from mose.methods.options import parse_variant
from mose.methods.rome import rome_delta


def test_rome_writes_its_value_at_the_bare_key_and_r_rome_at_the_mean_key(weight, moment):
    mean, bare, residual = draw(D_IN, 1, seed=3), draw(D_IN, 1, seed=4), draw(D_OUT, 1, seed=5)
    for name, written in (("rome", bare), ("r-rome", mean)):
        editor, _ = make(name, weight, moment)
        editor.update(mean, residual, bare)
        change = editor.weight.double() - weight.double()
        assert torch.allclose(change @ written, residual, atol=1e-4)
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == 1


def test_with_one_key_it_is_the_least_change_that_writes_the_value(moment):
    """Lagrange's system for min tr(D C D^T) subject to D k = r, solved whole."""
    key, residual = draw(D_IN, 1, seed=3), draw(D_OUT, 1, seed=4)
    system = torch.zeros(D_IN + 1, D_IN + 1, dtype=torch.float64)
    system[:D_IN, :D_IN] = moment.matrix
    system[:D_IN, D_IN:], system[D_IN:, :D_IN] = key, key.mT
    right = torch.cat([torch.zeros(D_IN, D_OUT, dtype=torch.float64), residual.mT])
    solved = torch.linalg.solve(system, right)[:D_IN].mT
    assert torch.allclose(rome_delta(key, residual, moment, key), solved, atol=1e-10)


def test_it_takes_one_layer_and_one_request(weight, moment):
    with pytest.raises(ConfigError, match=r"a rank-one update needs one layer, found \[3, 4\]"):
        parse_variant({"method": "rome", "layers": [3, 4], "learning_rate": 0.5})
    with pytest.raises(ValueError, match="one request at a time, found 2"):
        make("rome", weight, moment)[0].update(draw(D_IN, 2), draw(D_OUT, 2))
